"""The factors of skips that `fewstep tune-skips` found for a run, kept in it for skip_tuning without a number."""

import json
import math
from functools import partial
from typing import NamedTuple

from fewstep.diffusion.levers import interval, skip_tuning, under
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import dumps, write_atomic


class Tuned(NamedTuple):
    """What was found, for which weights and which way of sampling."""

    factors: list[float]  # of each level, the innermost first
    window: list[float] | None  # the noise levels sigma / alpha, (low, high], where they hold; None: all
    weights: str  # digest of the network's parameters
    sampler: str
    nfe: int
    grid: str
    levers: list[str]  # inside of it
    overrides: list[str]  # of their settings, and of the sampler's and the grid's

    def lever(self):
        """Denoiser -> Denoiser."""
        window = () if self.window is None else (interval(*self.window),)
        return partial(under, levers=(skip_tuning(tuple(self.factors)), *window))

    def __str__(self):
        factors = ", ".join(f"{factor:.3g}" for factor in self.factors)
        only = "" if self.window is None else " for sigma / alpha in ({:g}, {:g}]".format(*self.window)
        around = "".join([*(f" under {lever}" for lever in self.levers), *(f", {text}" for text in self.overrides)])
        return f"{factors}{only}, tuned for {self.sampler} in {self.nfe} calls on the grid {self.grid}{around}"


def path(run):
    """Where it is."""
    return run.folder / "stats" / "skips.json"


def keep(run, tuned, **about):
    """Write it, and what else should be known of it."""
    write_atomic(path(run), dumps(tuned._asdict() | about, indent=1) + "\n")


def tuned(run) -> Tuned:
    """RunError where nothing was found yet, or for other weights than the run has."""
    remedy = f"`fewstep tune-skips {run.folder}` finds them, or give a number: skip_tuning(0.8)"
    if not path(run).exists():
        raise RunError(f"{run.folder} has no tuned factors of its skips yet: {remedy}")
    try:
        told = json.loads(path(run).read_text())
        found = Tuned(*(told[name] for name in Tuned._fields))
        if found.window is not None:  # a file has no infinity
            found = found._replace(window=[math.inf if end is None else float(end) for end in found.window])
    except (ValueError, TypeError, KeyError):
        raise RunError(f"{path(run)} is damaged: {remedy}") from None
    if found.weights != run.weights:
        raise RunError(f"{path(run)} is of other weights than those of step {run.step}: {remedy}")
    return found
