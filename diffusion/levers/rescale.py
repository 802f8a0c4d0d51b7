"""Guidance rescaled to the contrast of the guided prediction (Lin et al. 2023, arXiv:2305.08891, section 3.4)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond, Lever, Pred, Wrapper
from fewstep.diffusion.levers.guidance import Guidance
from fewstep.diffusion.levers.trained_guidance import TrainedGuidance
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError
from fewstep.ranges import Share, checked


@register_dataclass
@dataclass(frozen=True)
class Rescale(Wrapper):
    """x0 times share * std(x0 of the good prediction) / std(x0) + 1 - share, with the standard deviation over each
    image; eps is recomputed."""

    inner: Any
    share: float = 0.0

    @property
    def without(self) -> Any:
        return self.inner.without

    @property
    def keeps_variance(self) -> bool:
        return False

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        good, bad = self.inner.pair(x, t, s, cond)
        mixed = self.inner.mix(good, bad, t, cond)
        target, std = _std(good.x0), _std(mixed.x0)
        ratio = jnp.where(std > 0, target / jnp.where(std > 0, std, 1.0), 1.0)  # constant images have no contrast
        return self.with_x0(mixed, mixed.x0 * (self.share * ratio + (1 - self.share)), t)


def _std(x: Array) -> Array:
    return jnp.std(x, axis=tuple(range(1, x.ndim)), keepdims=True)


@named
@checked
def rescale(share: Share = 0.7) -> Lever:
    """Rescales the guidance just inside to the contrast of the conditional prediction, by a share; 0: identity."""
    return partial(_rescaled, float(share))


def _rescaled(share, den):
    if isinstance(den, TrainedGuidance):
        raise UsageError("rescale mixes two predictions, and this network has guidance as an input: leave it out")
    if not isinstance(den, Guidance):
        raise UsageError("rescale goes just around a guidance: give it right after cfg, apg, cfg_pp or autoguidance")
    return Rescale(den, share)
