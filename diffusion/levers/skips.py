"""Levers on what a U-Net's skips carry to its decoder: skip-tuning and FreeU."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite
from fewstep.diffusion.levers.conditioning import ConditioningLever


@register_dataclass
@dataclass(frozen=True)
class SkipTuning(ConditioningLever):
    """The skips of each level times a factor (Ma et al. 2024, arXiv:2402.15170)."""

    inner: Any
    factors: Any  # (levels,), the innermost first

    def tell(self, cond, count, on=True):
        return cond._replace(skip=_times(cond.skip, self.factors, count, on))


@register_dataclass
@dataclass(frozen=True)
class FreeU(ConditioningLever):
    """Half of the decoder's channels times `backbone`, the lowest frequencies of its skips times `low`, factors of each
    level (Si et al. 2023, arXiv:2309.11497)."""

    inner: Any
    backbone: Any  # (levels,), the innermost first
    low: Any

    def tell(self, cond, count, on=True):
        told = {name: _times(getattr(cond, name), getattr(self, name), count, on) for name in ("backbone", "low")}
        return cond._replace(**told)


def _times(before, factors, count, on):
    """(count, levels): the factors where they are on, times those of a lever further out."""
    factors = jnp.where(jnp.reshape(on, (-1, 1)), factors, 1.0)
    factors = jnp.broadcast_to(factors, (count, factors.shape[1]))
    return factors if before is None else before * factors


def schedule(rho, outer, levels) -> tuple[float, ...]:
    """From `rho` at the innermost level linearly to `outer` at full resolution."""
    return tuple(np.linspace(rho, outer, levels).tolist())


def skip_tuning(rho, outer=1.0):
    """Multiply a U-Net's skips: by `rho` at the innermost level, from there linearly to `outer` at full resolution; or
    by a tuple of one factor a level, innermost first.  1 changes nothing."""
    several = isinstance(rho, tuple | list)
    finite("skip_tuning", outer=outer)
    for factor in rho if several else (rho,):
        finite("skip_tuning", rho=factor)
    if several and outer != 1.0:
        raise UsageError("skip_tuning.outer is where one number leads to: leave it out where every level has its own")
    return partial(_tuned, tuple(rho) if several else rho, float(outer))


def freeu(b1=1.2, b2=1.4, s1=0.9, s2=0.2):
    """FreeU on the two innermost levels, 1 and 2: `b` of the decoder, `s` of the skips; 1 changes nothing."""
    finite("freeu", b1=b1, b2=b2, s1=s1, s2=s2)
    return partial(_freed, (b1, b2), (s1, s2))


def _tuned(rho, outer, den):
    levels = _levels("skip_tuning", den)
    if isinstance(rho, tuple) and len(rho) != levels:
        raise UsageError(f"skip_tuning.rho has {len(rho)} factors: the skips of this network have {levels} levels")
    return SkipTuning(den, np.float32(rho if isinstance(rho, tuple) else schedule(rho, outer, levels)))


def _freed(backbone, low, den):
    levels = _levels("freeu", den)
    return FreeU(den, *(np.float32([*factors, *[1] * levels][:levels]) for factors in (backbone, low)))


def _levels(lever, den):
    if not den.levels:
        raise UsageError(f"{lever} is for U-Nets: this model's network has no skips")
    return den.levels
