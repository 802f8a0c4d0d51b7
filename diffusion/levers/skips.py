"""Levers on what a U-Net's skips carry to its decoder: skip-tuning and FreeU."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from diffusion.denoiser import Cond, Wrapper
from diffusion.levers.checks import finite


@register_dataclass
@dataclass(frozen=True)
class SkipTuning(Wrapper):
    """The skips of each level times a factor (Ma et al. 2024, arXiv:2402.15170)."""

    inner: Any
    factors: Any  # (levels,), the innermost first

    def __call__(self, x, t, s=None, cond=Cond()):
        return self.inner(x, t, s, cond._replace(skip=_times(cond.skip, self.factors, len(x))))


@register_dataclass
@dataclass(frozen=True)
class FreeU(Wrapper):
    """Half of the decoder's channels times `backbone`, the lowest frequencies of its skips times `low`, factors of each
    level (Si et al. 2023, arXiv:2309.11497)."""

    inner: Any
    backbone: Any  # (levels,), the innermost first
    low: Any

    def __call__(self, x, t, s=None, cond=Cond()):
        told = {name: _times(getattr(cond, name), getattr(self, name), len(x)) for name in ("backbone", "low")}
        return self.inner(x, t, s, cond._replace(**told))


def _times(before, factors, count):
    """(count, levels): the factors, times those of a lever further out."""
    factors = jnp.broadcast_to(factors, (count, len(factors)))
    return factors if before is None else before * factors


def skip_tuning(rho: float | tuple | None = None, outer=1.0):
    """Multiply a U-Net's skips: by `rho` at the innermost level, from there linearly to `outer` at full resolution; or
    by a tuple of one factor a level, innermost first; without `rho` by what `fewstep tune-skips` found for the run.  1
    changes nothing."""
    if rho is None:
        return untold
    for factor in rho if isinstance(rho, tuple) else (rho, outer):
        finite("skip_tuning", rho=factor)
    return partial(_tuned, rho, float(outer))


def freeu(b1=1.2, b2=1.4, s1=0.9, s2=0.2):
    """FreeU on the two innermost levels, 1 and 2: `b` of the decoder, `s` of the skips; 1 changes nothing."""
    finite("freeu", b1=b1, b2=b2, s1=s1, s2=s2)
    return partial(_freed, (b1, b2), (s1, s2))


def untold(den):
    """skip_tuning without a number, which a run replaces by its own."""
    raise ValueError("skip_tuning needs a number where there is no run that was tuned: skip_tuning(0.8)")


def _tuned(rho, outer, den):
    levels = _levels("skip_tuning", den)
    if isinstance(rho, tuple) and len(rho) != levels:
        raise ValueError(f"skip_tuning.rho has {len(rho)} factors: the skips of this network have {levels} levels")
    return SkipTuning(den, np.float32(rho if isinstance(rho, tuple) else np.linspace(rho, outer, levels)))


def _freed(backbone, low, den):
    levels = _levels("freeu", den)
    return FreeU(den, *(np.float32([*factors, *[1] * levels][:levels]) for factors in (backbone, low)))


def _levels(lever, den):
    if not den.levels:
        raise ValueError(f"{lever} is for U-Nets: this model's network has no skips")
    return den.levels
