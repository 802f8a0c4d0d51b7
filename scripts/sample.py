"""fewstep sample."""

import io
import shlex
import sys

import numpy as np

from fewstep.cli import config, parse, starts
from fewstep.cli.errors import UserError, lookup
from fewstep.cli.overrides import target
from fewstep.diffusion.denoiser import INSTANT, SAID
from fewstep.diffusion.levers import enlarged
from fewstep.samplers import usual, usual_calls
from fewstep.train.calibration import grid_on
from fewstep.train.files import write_atomic
from fewstep.train.pictures import picture, png, sheet
from fewstep.train.processes import first

IMAGES = 64  # that are drawn unless told otherwise
STRIPS, COLUMNS = 8, 16  # of a picture of trajectories, at most


def main(
    folder, sampler, nfe, count, seed, label, levers, calibrate, grid, out, overrides, trust, step, mesh, image=None,
    strength=None, invert=False, trajectory=False,
):  # fmt: skip
    """Draw `count` images, from noise or from an image, and write OUT.png and OUT.npz, and OUT-trajectory.png."""
    settings = config.settings(overrides)
    if sampler is not None:
        lookup("sampler", sampler, settings.samplers)
    parse.within(1 if nfe is None else nfe, "--nfe", 1, parse.MOST_CALLS)
    parse.within(1 if count is None else count, "--count", 1, parse.MOST_IMAGES)
    wrap = [parse.lever(text, settings.levers, [*map(target, overrides)]) for text in levers]
    out = parse.path(out, "--out")
    if out.suffix != ".png" or out.is_dir():
        raise UserError(f"--out {out}: give a name that ends in .png")
    wanted = None if label is None else parse.whole_numbers(label, "--label")
    if grid is not None:
        lookup("grid", grid, settings.grids)
    strength = starts.strength_of(strength, image, invert)
    parse.writable(out.parent, "--out")
    run = config.open_run(parse.path(folder, "the run"), trust, step, parse.mesh(mesh), calibrate)
    sampler = sampler or usual(run.denoiser)
    chosen = settings.samplers[sampler]
    nfe = nfe or usual_calls(chosen)
    if invert and INSTANT not in run.denoiser.answers:
        raise UserError(f"--invert follows {SAID[INSTANT]}, and this run learned only to jump: leave it out")
    if trajectory and (len(run.shape) != 3 or run.shape[-1] not in (1, 3)):
        raise UserError("--trajectory makes a picture, and this run has no grey or colour images")
    process = run.model.process
    grid = grid or chosen.grid_for(process)
    config.refuse_unused(settings.given, {sampler, grid, *(name for name, _ in wrap)})
    wrap, grids = [lever for _, lever in wrap], settings.grids
    given = None if image is None else starts.read(image, enlarged(run.shape, run.under(wrap)))
    if count is None:
        count = len(given) if invert else IMAGES
    seeds = np.arange(seed, seed + count)
    if given is None:
        grid, begin = grids[grid], None
        table = run.table(chosen, nfe, grid, wrap)
    else:
        grid = grid_on(run, run.under(wrap), starts.shortened(grid, grids, process, strength, invert))
        table = starts.open_to_images(run.table(chosen, nfe, grid, wrap), sampler)
        if invert:
            begin = starts.invert(run, given, seeds, nfe, grid, float(table.t[0]), wanted, wrap)
        else:
            begin = starts.begin(run, given, seeds, table)
    if trajectory and (table.s > process.ends[1]).any():
        raise UserError(f"--trajectory shows the images that are predicted on the way, and {sampler} jumps over them")
    images = run.follow(table, seeds, wanted, wrap, begin)
    predicted = None
    if trajectory:
        few = slice(STRIPS)
        predicted = run.predictions(table, seeds[few], wanted, wrap, None if begin is None else begin[few])
    if not first():
        return
    label = run.labels(wanted, count).label
    arrays = {"images": images, "seeds": seeds, "command": np.array(shlex.join(["fewstep", *sys.argv[1:]]))}
    numbers = io.BytesIO()
    np.savez(numbers, **arrays, **({} if label is None else {"labels": label}))
    write_atomic(out.with_suffix(".npz"), numbers.getvalue())
    written = [str(out.with_suffix(".npz"))]
    if (seen := picture(images, _columns(wanted, count))) is not None:
        write_atomic(out, png(seen))
        written.insert(0, str(out))
    if predicted is not None:
        written.append(str(out.with_name(f"{out.stem}-trajectory.png")))
        write_atomic(written[-1], png(_strips(predicted)))
    calls = f"{table.nfe} calls" + f" after {nfe} of inversion" * invert
    print(f"{count} images by {', '.join([sampler, *levers])} in {calls}: {', '.join(written)}", file=sys.stderr)


def _strips(x0):
    """Predictions (N, B, H, W, C) as a picture: a row an image, a column a call, the first and the last among them."""
    calls = np.unique(np.linspace(0, len(x0) - 1, min(len(x0), COLUMNS)).round().astype(int))
    return sheet(x0[calls].swapaxes(0, 1).reshape(-1, *x0.shape[2:]), columns=len(calls))


def _columns(wanted, count):
    """As many columns as classes, so that every column is one class."""
    return len(wanted) if wanted and 1 < len(wanted) <= count else None
