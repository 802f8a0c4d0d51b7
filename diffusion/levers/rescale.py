"""Guidance at the contrast of what it guides (Lin et al. 2023, arXiv:2305.08891, section 3.4)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, Wrapper
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite
from fewstep.diffusion.levers.guidance import Guidance


@register_dataclass
@dataclass(frozen=True)
class Rescale(Wrapper):
    """x0 times share * std(x0 of the good prediction) / std(x0) + 1 - share, the deviations each of an image; eps
    rebuilt."""

    inner: Any
    share: float = 0.0

    without = property(lambda self: self.inner.without)
    keeps_variance = False

    def __call__(self, x, t, s=None, cond=Cond()):
        good, bad = self.inner.pair(x, t, s, cond)
        mixed = self.inner.mix(good, bad, t, cond)
        wanted, std = _std(good.x0), _std(mixed.x0)
        ratio = jnp.where(std > 0, wanted / jnp.where(std > 0, std, 1.0), 1.0)  # one colour has no contrast
        return self.with_x0(mixed, mixed.x0 * (self.share * ratio + (1 - self.share)), t)


def _std(x):
    return jnp.std(x, axis=tuple(range(1, x.ndim)), keepdims=True)


def rescale(share=0.7):
    """The guidance just inside at the contrast of the conditional prediction, to a share; 0 changes nothing."""
    finite("rescale", share=share)
    return partial(_rescaled, float(share))


def _rescaled(share, den):
    if not isinstance(den, Guidance):
        raise UsageError("rescale goes just around a guidance: give it right after cfg, apg, cfg_pp or autoguidance")
    return Rescale(den, share)
