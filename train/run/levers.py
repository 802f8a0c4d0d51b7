"""Levers that depend on the run they are applied to (`Run.under`): its statistics, or another run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any

import jax
from jax.tree_util import register_dataclass

from fewstep.diffusion import levers
from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond, Pred, Wrapper
from fewstep.diffusion.levers import under
from fewstep.diffusion.levers.guidance import Scale
from fewstep.diffusion.levers.skips import Factor
from fewstep.errors import UsageError, listed
from fewstep.ranges import Range, checked_as
from fewstep.train.ema import Length
from fewstep.train.run.lever_texts import lever
from fewstep.train.run.skip_factors import load_tuned
from fewstep.train.sharding import replicated
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.messages import say


@dataclass(frozen=True)
class RunLever:
    """A lever that is built for a run: of(run) -> lever."""

    name: str
    of: Callable

    def __call__(self, den: Any) -> Any:
        raise UsageError(f"{self.name} depends on a run (Run.under): remove it from train.levers")


@checked_as("skip_tuning")
def skip_factors(rho: Factor | tuple[Factor, ...] | None = None, outer: Factor = 1.0) -> Any:
    """Scale a U-Net's skips: by `rho` at the innermost level, interpolated linearly to `outer` at full resolution; or
    by a tuple of one factor per level, innermost first; or, without `rho`, by the factors that `fewstep tune-skips`
    found for the run.  A factor of 1 changes nothing."""
    if rho is None and outer != 1.0:
        raise UsageError("skip_tuning.outer requires rho")
    return RunLever("skip_tuning without a number", _tuned) if rho is None else levers.skip_tuning(rho, outer)


@checked_as("autoguidance")
def guidance_by_run(run: str, scale: Scale, step: Annotated[int, Range(0)] | None = None) -> RunLever:
    """Guidance away from a worse model of the same data, a run in a folder; a scale of 1 is no guidance."""
    if not isinstance(run, str):
        raise UsageError(
            f'autoguidance.run must be the folder of a run, as in autoguidance("runs/bad", 2): got {run!r}'
        )
    return RunLever("autoguidance", partial(_guided, run, scale, step))


@checked_as("ema")
def average(length: Length) -> RunLever:
    """Other weights: the parameters averaged over a share of training, `length`, rebuilt from the averages that the run
    keeps with train.ema_lengths.  It goes inside all other levers, wherever it is written."""
    return RunLever("ema", partial(_averaged, length))


def _averaged(length, run):
    params = jax.tree.map(lambda a, b: a.astype(b.dtype), run.averaged(length)["net"], run.params)
    return lambda den: Averaged(run.model.denoiser(params), length)


@register_dataclass
@dataclass(frozen=True)
class Averaged(Wrapper):
    """A network with parameters of another average than those of its run."""

    inner: Any
    length: float

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        return self.inner(x, t, s, cond)


def _tuned(run):
    found = load_tuned(run)
    _say_once(f"skip_tuning of {run.folder}: {found}")
    return found.lever()


_say_once = cache(say)


def _guided(folder, scale, step, run):
    bad = _opened(run.opener, folder, step)
    if bad.shape != run.shape:
        sizes = ("x".join(map(str, shape)) for shape in (bad.shape, run.shape))
        raise RunError(f"autoguidance: {folder} has data of shape {' and the guided run '.join(sizes)}")
    params = bad.params if bad.mesh == run.mesh else jax.device_put(bad.params, replicated(run.mesh))
    return levers.autoguidance(bad.model.denoiser(params), scale)


LEVERS = levers.LEVERS | {"autoguidance": guidance_by_run, "skip_tuning": skip_factors, "ema": average}
IMPLIED = ("ema",)  # levers that a setting adds, as in --set ema.length=0.03
Levers = str | Callable[..., Any] | Iterable[str | Callable[..., Any]]  # one or several, as texts or made


def as_levers(levers: Levers) -> list[Any]:
    """A list of levers; UsageError for a text that is not a lever's."""
    return [lever(one, LEVERS)[1] if isinstance(one, str) else one for one in listed(levers)]


def levered(run: Any, levers: Levers) -> Any:
    """The denoiser of a run with levers or their texts, the first innermost; those that depend on a run get this
    one."""
    made = sorted(as_levers(levers), key=lambda one: getattr(one, "name", "") != "ema")
    return under(run.denoiser, [one.of(run) if hasattr(one, "of") else one for one in made])


@cache
def _opened(opener, folder, step):
    return opener(folder, step=step)
