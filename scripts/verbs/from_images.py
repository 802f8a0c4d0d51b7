"""The start of `fewstep sample` if it is not pure noise: images, noised or inverted."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from fewstep.cli import parse
from fewstep.cli.errors import UserError
from fewstep.cli.verbs.sampling import Chosen
from fewstep.diffusion.denoiser import Lever
from fewstep.diffusion.process import Process
from fewstep.samplers import Tableau, tabulate
from fewstep.samplers.inversion import ddim_inversion, lowest
from fewstep.samplers.registry import FITTED
from fewstep.samplers.start import noised
from fewstep.train.data.checks import BEYOND, as_images
from fewstep.train.data.decode import BadImage, decode, size_of
from fewstep.train.run import Run
from fewstep.train.run.calibration import grid_with_statistics
from fewstep.train.utils import npz
from fewstep.train.utils.files import open_file
from fewstep.train.utils.messages import say

LARGER = 2  # times the size of the model: then details of an image are lost


class Start(NamedTuple):
    """Images to start from instead of noise, as given on the command line."""

    image: str | None
    strength: float | None
    invert: bool


def strength_of(start: Start) -> float:
    """The strength, by default 0.5, and 1 if the image is inverted; UserError for options that do not fit."""
    for given, option in ((start.strength is not None, "--strength"), (start.invert, "--invert")):
        if given and start.image is None:
            raise UserError(f"{option} requires an image to start from: add --from image.png")
    strength = (1.0 if start.invert else 0.5) if start.strength is None else start.strength
    if not 0 < strength <= 1:
        raise UserError(f"--strength {strength:g}: it must be above 0 (all of the image) and at most 1 (little of it)")
    return strength


class Given(NamedTuple):
    """Images to start from (N, *shape), and the labels that are stored with them, if there are any."""

    images: np.ndarray
    labels: list[int] | None = None


def read(text: str, shape: tuple, classes: int) -> Given:
    """Images in [-1, 1]: that of an image file, resized like those of a folder, or all of an .npz that `sample` wrote,
    with its labels if the model has these classes."""
    path = parse.path(text, "--from")
    if not path.is_file():
        raise UserError(f"--from {text}: there is no such file")
    if path.suffix == ".npz":
        return _saved(path, shape, classes)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        form = "x".join(map(str, shape))
        raise UserError(f"--from {text}: this run has data of shape {form}, not grey or colour images: give an .npz")
    try:
        with open_file(path) as file:
            pixels = decode(file, shape[:2], shape[-1])
            size = size_of(file)
    except BadImage as error:
        raise UserError(f"--from {text}: {error}") from None
    if max(size) > LARGER * max(shape[:2]):
        say(f"{text} has {size[0]}x{size[1]} pixels and was reduced to {shape[1]}x{shape[0]}, the size of the model")
    return Given(pixels[None] / np.float32(127.5) - 1)


def _saved(path, shape, classes):
    try:
        with npz.opened(path) as saved:
            images, labels = saved["images"], saved["labels"] if "labels" in saved else np.empty(0)
    except npz.TooLarge as error:
        raise UserError(f"--from {error}: give fewer images") from None
    except (OSError, ValueError, KeyError):
        raise UserError(f"--from {path}: not an .npz with an array `images`, as `fewstep sample` writes") from None
    if images.shape[1:] != shape or images.dtype.kind != "f":
        raise UserError(
            f"--from {path}: images are {images.dtype} {images.shape}; this run needs floats (N, "
            f"{', '.join(map(str, shape))})"
        )
    images = as_images(images, f"--from {path}: images", bounded=False)
    low, high = float(images.min()), float(images.max())
    if low == high or np.median(np.abs(images)) > BEYOND:
        what = f"are all {low:g}" if low == high else f"span {low:g} to {high:g}"
        raise UserError(
            f"--from {path}: images {what}; this run needs images in [-1, 1], from black to white: save "
            f"pixels / 127.5 - 1, or 2 * pixels - 1 if 1 is white"
        )
    known = labels.dtype.kind in "iu" and labels.size and labels.min() >= 0 and labels.max() < classes
    return Given(images, [int(label) for label in labels.ravel()] if known else None)


def shortened(name: str, grids: Mapping[str, Callable], process: Process, strength: float, invert: bool) -> Callable:
    """The grid of this name from the time t = end + strength (start - end) of the process; itself at strength 1.

    UserError for a grid whose start is fixed, and for a strength that leaves no step.
    """
    grid = grids[name]
    needs = {option for option, needed in (("start", strength < 1 or invert), ("end", invert)) if needed}
    if not needs <= set(inspect.signature(grid).parameters):
        able = [n for n, other in grids.items() if needs <= set(inspect.signature(other).parameters)]
        raise UserError(f"the grid {name} cannot start at an image: choose --grid {' or '.join(able)}")
    if strength == 1:
        return grid
    first, last = process.ends
    start = last + strength * (first - last)
    if start <= lowest(process):
        raise UserError(f"--strength {strength:g}: so little noise leaves no step to take; give more")
    return partial(grid, start=start)


def open_to_images(table: Tableau, sampler: str) -> Tableau:
    """The table; UserError if its first step is analytic, which requires pure noise."""
    if not np.isnan(table.start):
        raise UserError(f"--from starts from an image, {sampler}.first='analytic' from pure noise: leave one out")
    return table


def begin(
    run: Run, chosen: Chosen, images: np.ndarray, seeds: np.ndarray, strength: float, inverted: bool,
    label: Sequence[int] | Sequence[str] | None,
) -> tuple[Tableau, np.ndarray]:  # fmt: skip
    """(table, states at its first time): the images, repeated in turn, noised with the seeds or inverted."""
    process = run.model.process
    if chosen.sampler.grid == FITTED:
        raise UserError(f"--from: {chosen.name} begins with pure noise, at times of its own: choose another sampler")
    short = shortened(chosen.grid, chosen.settings.grids, process, strength, inverted)
    grid = grid_with_statistics(run, run.under(chosen.levers), short)
    table = open_to_images(run.table(chosen.sampler, chosen.nfe, grid, chosen.levers), chosen.name)
    if inverted:
        return table, invert(run, images, seeds, chosen.nfe, grid, float(table.t[0]), label, chosen.levers)
    return table, noised(process, table.t[0], seeds, _in_turn(images, seeds))


def invert(
    run: Run, images: np.ndarray, seeds: np.ndarray, nfe: int, grid: Callable, top: float,
    label: Sequence[int] | Sequence[str] | None, levers: Sequence[Lever],
) -> np.ndarray:  # fmt: skip
    """The noise of the images in turn, in nfe calls of ddim_inversion on the grid up to the time `top`."""
    process = run.model.process
    low = lowest(process)
    table = tabulate(ddim_inversion(process, grid(process, nfe, start=top, end=low)[::-1]))
    start = (process.alpha(low) * _in_turn(images, seeds)).astype(np.float32)
    return run.follow(table, seeds, label, levers, start)


def _in_turn(images, seeds):
    return images[np.arange(len(seeds)) % len(images)]
