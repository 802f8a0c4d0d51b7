"""Levers on the skip connections of a U-Net: skip-tuning and FreeU."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, DenoiserLike, Lever
from fewstep.diffusion.levers.conditioning import ConditioningLever
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked

Factor = Annotated[float, Range(0, 10)]


@register_dataclass
@dataclass(frozen=True)
class SkipTuning(ConditioningLever):
    """Multiplies the skips of each level by a factor (Ma et al. 2024, arXiv:2402.15170)."""

    inner: Any
    factors: Any  # (levels,), the innermost first

    def conditioning(self, cond: Cond, count: int, on: bool | Array = True) -> Cond:
        return cond._replace(skip=_times(cond.skip, self.factors, count, on))


@register_dataclass
@dataclass(frozen=True)
class FreeU(ConditioningLever):
    """Multiplies half of the decoder's channels by `backbone` and the lowest frequencies of its skips by `low`, with
    factors per level (Si et al. 2023, arXiv:2309.11497)."""

    inner: Any
    backbone: Any  # (levels,), the innermost first
    low: Any

    def conditioning(self, cond: Cond, count: int, on: bool | Array = True) -> Cond:
        factors = {name: _times(getattr(cond, name), getattr(self, name), count, on) for name in ("backbone", "low")}
        return cond._replace(**factors)


def _times(before: Array | None, factors: Any, count: int, on: bool | Array) -> Array:
    """(count, levels): the factors where they are on, times those of levers further out."""
    factors = jnp.where(jnp.reshape(on, (-1, 1)), factors, 1.0)
    factors = jnp.broadcast_to(factors, (count, factors.shape[1]))
    return factors if before is None else before * factors


def schedule(rho: float, outer: float, levels: int) -> tuple[float, ...]:
    """Factors that change linearly from `rho` at the innermost level to `outer` at full resolution."""
    return tuple(np.linspace(rho, outer, levels).tolist())


@named
@checked
def skip_tuning(rho: Factor | tuple[Factor, ...], outer: Factor = 1.0) -> Lever:
    """Multiplies a U-Net's skips by factors that change linearly from `rho` at the innermost level to `outer` at full
    resolution, or by a tuple of one factor per level, innermost first.  Factors of 1 are the identity."""
    factors = tuple(rho) if isinstance(rho, Iterable) and np.ndim(rho) else None
    if factors and outer != 1.0:
        raise UsageError("skip_tuning.outer is where one number leads to: leave it out if rho has a factor per level")
    return partial(_tuned, factors or rho, float(outer))


@named
@checked
def freeu(b1: Factor = 1.2, b2: Factor = 1.4, s1: Factor = 0.9, s2: Factor = 0.2) -> Lever:
    """FreeU on the two innermost levels, 1 and 2: factors `b` of the decoder, `s` of the skips; 1 is the identity."""
    return partial(_freed, (b1, b2), (s1, s2))


def _tuned(rho: float | tuple[float, ...], outer: float, den: DenoiserLike) -> SkipTuning:
    levels = _levels("skip_tuning", den)
    if isinstance(rho, tuple) and len(rho) != levels:
        raise UsageError(f"skip_tuning.rho has {len(rho)} factors: the skips of this network have {levels} levels")
    factors = rho if isinstance(rho, tuple) else schedule(rho, outer, levels)
    return SkipTuning(den, np.asarray(factors, np.float32))


def _freed(backbone: tuple[float, ...], low: tuple[float, ...], den: DenoiserLike) -> FreeU:
    levels = _levels("freeu", den)
    return FreeU(den, *(np.asarray([*factors, *[1] * levels][:levels], np.float32) for factors in (backbone, low)))


def _levels(lever: str, den: DenoiserLike) -> int:
    if not den.levels:
        raise UsageError(f"{lever} is for U-Nets: this model's network has no skips")
    return den.levels
