"""Levers that are made for the run they are put around (`Run.under`): from what it keeps, or with another run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import jax

from fewstep.cli.errors import UserError
from fewstep.diffusion import levers
from fewstep.diffusion.levers.checks import finite
from fewstep.train.progress import say
from fewstep.train.sharding import replicated
from fewstep.train.tuned import tuned


@dataclass(frozen=True)
class OfRun:
    """of(run) is the lever."""

    name: str
    of: Callable

    def __call__(self, den):
        raise ValueError(f"{self.name} is made for a run (Run.under): leave it out of train.levers")


def skip_tuning(rho: float | tuple | None = None, outer=1.0):
    """Multiply a U-Net's skips: by `rho` at the innermost level, from there linearly to `outer` at full resolution; or
    by a tuple of one factor a level, innermost first; without `rho` by what `fewstep tune-skips` found for the run.  1
    changes nothing."""
    if rho is None and outer != 1.0:
        raise ValueError("skip_tuning.outer is where rho leads to: give rho too")
    return OfRun("skip_tuning without a number", _tuned) if rho is None else levers.skip_tuning(rho, outer)


def autoguidance(run: str, scale: float, step: int | None = None):
    """Guidance away from a worse model on the same data, the run in a folder at a checkpoint; 1 is the model itself."""
    if not isinstance(run, str):
        raise ValueError(f'autoguidance.run is the folder of a run, as in autoguidance("runs/bad", 2): got {run!r}')
    finite("autoguidance", scale=scale)
    return OfRun("autoguidance", partial(_guided, run, scale, step))


def _tuned(run):
    found = tuned(run)
    _say_once(f"skip_tuning of {run.folder}: {found}")
    return found.lever()


_say_once = cache(say)


def _guided(folder, scale, step, run):
    bad = _opened(folder, step, run.trusts)
    if bad.shape != run.shape:
        sizes = ("x".join(map(str, shape)) for shape in (bad.shape, run.shape))
        raise UserError(f"autoguidance: {folder} has data of shape {' and the run that is guided '.join(sizes)}")
    params = bad.params if bad.mesh == run.mesh else jax.device_put(bad.params, replicated(run.mesh))
    return levers.autoguidance(bad.model.denoiser(params), scale)


@cache
def _opened(folder, step, trust):
    from fewstep.cli.config import open_run  # which knows these levers
    from fewstep.cli.parse import path

    return open_run(path(folder, "autoguidance.run"), trust=trust, step=step)
