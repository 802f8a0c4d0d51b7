"""fewstep sample."""

import shlex
import sys

import numpy as np

from fewstep.cli import parse
from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening, Sampling
from fewstep.cli.verbs import from_images
from fewstep.cli.verbs.from_images import Start
from fewstep.cli.verbs.sampling import look_up, opened
from fewstep.diffusion.denoiser import CAPABILITY_NAMES, INSTANT
from fewstep.diffusion.levers import enlarged
from fewstep.evaluation.outside import Sampled, far_outside, root_mean_square
from fewstep.ranges import MOST_IMAGES, within
from fewstep.train.logs.images import picture, png, sheet
from fewstep.train.run.tables import check_labels
from fewstep.train.utils import npz
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import is_main_process

IMAGES = 64  # the default
STRIPS, COLUMNS = 8, 16  # of a picture of trajectories, at most


def main(
    folder: str, sampling: Sampling, opening: Opening, calibrate: bool, start: Start, count: int | None, seed: int,
    label: str | None, out: str, scale: int | None, trajectory: bool,
) -> None:  # fmt: skip
    """Sample `count` images, from noise or from images, and write OUT.png and OUT.npz, and OUT-trajectory.png.

    If OUT is a folder, it gets numbered pictures of the single images instead of one of all.
    """
    looked_up = look_up(sampling, opening.set)
    within(1 if count is None else count, "--count", 1, MOST_IMAGES)
    drawn = parse.path(out, "--out")
    single = drawn.suffix != ".png" and (out.endswith("/") or drawn.is_dir())
    if not single and (drawn.suffix != ".png" or drawn.is_dir()):
        raise UserError(f"--out {out}: give a name that ends in .png, or in / for a folder of single images")
    if scale is not None:
        within(scale, "--scale", 1, 64)
    texts = None if label is None else parse.all_words(label, "--label")
    strength = from_images.strength_of(start)
    parse.writable(drawn if single else drawn.parent, "--out")
    run = opened(folder, opening, calibrate)
    chosen, typed = looked_up.on(run), [label] if label in run.names else texts  # a name may have commas
    if start.invert and INSTANT not in run.denoiser.capabilities:
        raise UserError(f"--invert requires {CAPABILITY_NAMES[INSTANT]}, and this run learned only jumps: leave it out")
    for asked, option in ((trajectory, "--trajectory"), (single, "a folder as --out"), (scale is not None, "--scale")):
        if asked and (len(run.shape) != 3 or run.shape[-1] not in (1, 3)):
            raise UserError(f"{option} requires grey or colour images, and this run has none")
    given, wanted = None, typed
    if start.image is not None:
        shape = enlarged(run.shape, run.under(chosen.levers))
        given, stored = from_images.read(start.image, shape, run.denoiser.classes)
        wanted = stored if wanted is None else wanted
    if count is None:
        count = len(given) if start.invert and given is not None else IMAGES
    seeds = np.arange(seed, seed + count)
    if given is None:
        table, begin = chosen.table(run), None
    else:
        table, begin = from_images.begin(run, chosen, given, seeds, strength, start.invert, wanted)
    if trajectory and (table.s > run.model.process.ends[1]).any():
        raise UserError(f"--trajectory shows the image predicted at each call: {chosen.name} predicts none")
    images = run.follow(table, seeds, wanted, chosen.levers, begin)
    predicted = None
    if trajectory:
        few, calls = slice(STRIPS), strip(table.nfe, COLUMNS)
        begun = None if begin is None else begin[few]
        predicted = run.predictions(table, seeds[few], calls, wanted, chosen.levers, begun)
    if not is_main_process():
        return
    labels = run.labels(wanted, count).label
    check_labels(chosen.sampler, labels)
    columns, names = _columns(typed, run, count) if wanted is typed else (None, ())
    arrays = {"images": images, "seeds": seeds, "command": np.array(shlex.join(["fewstep", *sys.argv[1:]]))}
    beside = drawn / "samples" if single else drawn.with_suffix("")
    write_atomic(f"{beside}.npz", npz.encode(**arrays, **({} if labels is None else {"labels": labels})))
    written = [f"{beside}.npz"]
    if single:
        for number, image in zip(seeds, images, strict=True):
            write_atomic(drawn / f"{number:06d}.png", png(sheet(image[None], scale=scale or 1)))
        written.insert(0, f"{drawn}/{seeds[0]:06d}.png to {seeds[-1]:06d}.png")
    elif (seen := picture(images, columns, names, scale)) is not None:
        write_atomic(drawn, png(seen))
        written.insert(0, str(drawn))
    if predicted is not None:
        written.append(f"{beside}-trajectory.png")
        write_atomic(written[-1], png(strips(predicted, scale)))
    far = Sampled(chosen.name, root_mean_square(images), chosen.name, chosen.nfe, run.model.process, chosen.grid)
    for warning in far_outside([far]):
        say(warning)
    calls = f"{table.nfe} calls" + f" after {chosen.nfe} of inversion" * start.invert
    say(f"{count} images by {', '.join([chosen.name, *sampling.lever])} in {calls}: {', '.join(written)}")


def _columns(wanted, run, count):
    """The columns of a picture, so that each shows one class, and their names; (None, ()) if that does not fit."""
    names = run.names if run.denoiser.classes else ()
    shown = wanted or (names if len(names) <= COLUMNS else ())
    if not 1 < len(shown) <= count:
        return None, ()
    return len(shown), [names[label] for label in run.labels(wanted, len(shown)).label] if names else ()


def strip(nfe: int, most: int) -> list[int]:
    """The calls that a strip of at most so many columns shows, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, nfe - 1, min(nfe, most)).round().astype(int)).tolist()


def strips(x0: np.ndarray, scale: int | None = None) -> np.ndarray:
    """Predictions (N, B, H, W, C) as a picture: one row per image, one column per call."""
    return sheet(x0.swapaxes(0, 1).reshape(-1, *x0.shape[2:]), columns=len(x0), scale=scale)
