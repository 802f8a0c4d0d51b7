"""Levers that are made for the run they are put around (`Run.under`): from what it keeps, or with another run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax

from fewstep.diffusion import levers
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite
from fewstep.train.run.skip_factors import tuned
from fewstep.train.sharding import replicated
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.progress import say


@dataclass(frozen=True)
class OfRun:
    """of(run) is the lever."""

    name: str
    of: Callable

    def __call__(self, den):
        raise UsageError(f"{self.name} is made for a run (Run.under): leave it out of train.levers")


def skip_factors(rho: float | tuple | None = None, outer: float = 1.0) -> Any:
    """Multiply a U-Net's skips: by `rho` at the innermost level, from there linearly to `outer` at full resolution; or
    by a tuple of one factor a level, innermost first; without `rho` by what `fewstep tune-skips` found for the run.  1
    changes nothing."""
    if rho is None and outer != 1.0:
        raise UsageError("skip_tuning.outer is where rho leads to: give rho too")
    return OfRun("skip_tuning without a number", _tuned) if rho is None else levers.skip_tuning(rho, outer)


def guidance_by_run(run: str, scale: float, step: int | None = None) -> OfRun:
    """Guidance away from a worse model on the same data, the run in a folder at a checkpoint; 1 is the model itself."""
    if not isinstance(run, str):
        raise UsageError(f'autoguidance.run is the folder of a run, as in autoguidance("runs/bad", 2): got {run!r}')
    finite("autoguidance", scale=scale)
    return OfRun("autoguidance", partial(_guided, run, scale, step))


def _tuned(run):
    found = tuned(run)
    _say_once(f"skip_tuning of {run.folder}: {found}")
    return found.lever()


_say_once = cache(say)


def _guided(folder, scale, step, run):
    bad = _opened(run.opener, folder, step)
    if bad.shape != run.shape:
        sizes = ("x".join(map(str, shape)) for shape in (bad.shape, run.shape))
        raise RunError(f"autoguidance: {folder} has data of shape {' and the run that is guided '.join(sizes)}")
    params = bad.params if bad.mesh == run.mesh else jax.device_put(bad.params, replicated(run.mesh))
    return levers.autoguidance(bad.model.denoiser(params), scale)


@cache
def _opened(opener, folder, step):
    return opener(folder, step=step)
