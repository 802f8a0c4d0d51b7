"""Skip factors that `fewstep tune-skips` found for a run, stored in it for skip_tuning without a number."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from etils import epath

from fewstep.diffusion.levers import interval, skip_tuning, under
from fewstep.train.run.computation import is_other
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.sealed import read_json, sealed_json


class Tuned(NamedTuple):
    """Tuned factors, with the weights and the sampling settings they were tuned for."""

    factors: list[float]  # one per level, innermost first
    window: list[float] | None  # the noise levels sigma / alpha, (low, high], where they apply; None: all
    weights: str  # digest of the network's parameters
    sampler: str
    nfe: int
    grid: str
    levers: list[str]  # applied inside it
    overrides: list[str]  # settings of the levers, the sampler and the grid

    def lever(self) -> Callable:
        """Denoiser -> Denoiser."""
        window = () if self.window is None else (interval(*self.window),)
        return partial(under, levers=(skip_tuning(tuple(self.factors)), *window))

    def __str__(self) -> str:
        factors = ", ".join(f"{factor:.3g}" for factor in self.factors)
        only = "" if self.window is None else " for sigma / alpha in ({:g}, {:g}]".format(*self.window)
        around = "".join([*(f" under {lever}" for lever in self.levers), *(f", {text}" for text in self.overrides)])
        return f"{factors}{only}, tuned for {self.sampler} with {self.nfe} calls on the grid {self.grid}{around}"


def path(run: Any) -> epath.Path:
    """The file of the factors of a run."""
    return run.folder / "stats" / "skips.json"


def save(run: Any, tuned: Tuned, **about: Any) -> None:
    """Store the factors in the run, with additional fields."""
    write_atomic(path(run), sealed_json(tuned._asdict() | {"code": run.code} | about, indent=1))


def load_tuned(run: Any) -> Tuned:
    """The factors stored in a run; raises RunError if there are none, or if they are for other weights."""
    remedy = f"find them with `fewstep tune-skips {run.folder}`, or give a number: skip_tuning(0.8)"
    if not path(run).exists():
        raise RunError(f"{run.folder} has no tuned skip factors yet: {remedy}")
    try:
        record = read_json(path(run))
        found = Tuned(*(record[name] for name in Tuned._fields))
        if found.window is not None:  # JSON has no infinity: it is null
            found = found._replace(window=[math.inf if end is None else float(end) for end in found.window])
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{error if isinstance(error, Damaged) else f'{path(run)} is damaged'}: {remedy}") from None
    if is_other(run.code, record.get("code")):
        raise RunError(f"{path(run)} is for another code of the network: {remedy}")
    if found.weights != run.weights:
        raise RunError(f"{path(run)} is for other weights than those of step {run.step}: {remedy}")
    return found
