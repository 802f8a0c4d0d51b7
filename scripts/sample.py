"""fewstep sample."""

import io
import shlex
import sys

import numpy as np

from scripts import config, parse
from scripts.errors import UserError, lookup
from train.files import write_atomic
from train.pictures import picture, png
from train.processes import first


def main(folder, sampler, nfe, count, seed, label, levers, grid, out, overrides, trust, step=None, mesh="-1,1,1"):
    """Draw `count` images and write OUT.png and OUT.npz."""
    settings = config.settings(overrides)
    chosen = lookup("sampler", sampler, settings.samplers)
    parse.within(nfe, "--nfe", 1, parse.MOST_CALLS)
    parse.within(count, "--count", 1, parse.MOST_IMAGES)
    wrap = [parse.lever(text, settings.levers) for text in levers]
    out = parse.path(out, "--out")
    if out.suffix != ".png" or out.is_dir():
        raise UserError(f"--out {out}: give a name that ends in .png")
    wanted = None if label is None else parse.whole_numbers(label, "--label")
    if grid is not None:
        lookup("grid", grid, settings.grids)
    run = config.open_run(parse.path(folder, "the run"), trust, step, parse.mesh(mesh))
    grid = grid or chosen.grid_for(run.model.process)
    settings.refuse_unused({sampler, grid, *(name for name, _ in wrap)})
    parse.writable(out.parent, "--out")
    seeds, grid = np.arange(seed, seed + count), settings.grids[grid]
    images = run.draw(chosen, nfe, seeds, label=wanted, levers=[lever for _, lever in wrap], grid=grid)
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
    calls = run.table(chosen, nfe, grid).nfe
    print(f"{count} images by {', '.join([sampler, *levers])} in {calls} calls: {', '.join(written)}", file=sys.stderr)


def _columns(wanted, count):
    """As many columns as classes, so that every column is one class."""
    return len(wanted) if wanted and 1 < len(wanted) <= count else None
