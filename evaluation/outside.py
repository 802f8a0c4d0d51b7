"""A warning about images far outside the range of data, which is -1 to 1."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fewstep import diffusion
from fewstep.diffusion.process import Process
from fewstep.evaluation.report.table import number
from fewstep.samplers import GRIDS, SAMPLERS

FAR = 10.0  # the root mean square of images


class Sampled(NamedTuple):
    """How images were sampled, and their root mean square, NaN if unknown."""

    name: str
    rms: float
    sampler: str
    budget: int
    process: Process
    grid: str


def root_mean_square(images: np.ndarray) -> float:
    """Of all values, in float64."""
    return float(np.sqrt(np.mean(np.square(images, dtype=np.float64))))


def far_outside(sampled: Iterable[Sampled]) -> list[str]:
    """One sentence that names all that are far outside the range of data, and how to check the worst of them; or
    none."""
    far = [one for one in sampled if one.rms > FAR]
    if not far:
        return []
    worst, calls = max(far, key=lambda one: one.rms), {}
    for one in far:
        calls.setdefault(one.name, {})[str(one.budget)] = True
    names = "; ".join(f"{name} at {', '.join(found)} calls" for name, found in calls.items())
    text = f"{names}: far outside the data's range of -1 to 1 (root mean square {number(worst.rms)})"
    text += ", likely unstable at so few calls"
    process = type(worst.process).__name__
    known = hasattr(diffusion, process) and np.isinf(worst.process.freedom)  # not one's own, and exactly solved
    if worst.sampler in SAMPLERS and worst.grid in GRIDS and known:
        text += f": see fewstep samplers --check {worst.sampler} --nfe {worst.budget} --process {process} --grid "
        text += worst.grid
    return [text]
