"""The predicted clean image held within bounds (algorithms.md E4); eps rebuilt.  Samplers lose their order by it."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Wrapper
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite


class _Bounded(Wrapper):
    """x0 replaced by `bounded(x0)`, except of jumps that do not go to the end of the process: that is no image."""

    def __call__(self, x, t, s=None, cond=Cond()):
        pred = self.inner(x, t, s, cond)
        x0 = self.bounded(pred.x0)
        if s is not None:
            x0 = jnp.where(over((s == t) | (s <= self.process.ends[1]), x0), x0, pred.x0)
        return self.with_x0(pred, x0, t)


@register_dataclass
@dataclass(frozen=True)
class ClipX0(_Bounded):
    """x0 within [low, high] (Ho et al. 2020); without `rebuild` eps stays, as in Analytic-DPM's code for DDIM."""

    inner: Any
    low: float = -1.0
    high: float = 1.0
    rebuild: bool = field(default=True, metadata={"static": True})

    consistent = property(lambda self: self.rebuild and self.inner.consistent)

    def bounded(self, x0):
        return jnp.clip(x0, self.low, self.high)

    def with_x0(self, pred, x0, t):
        return super().with_x0(pred, x0, t) if self.rebuild else pred._replace(x0=x0)


@register_dataclass
@dataclass(frozen=True)
class DynamicThreshold(_Bounded):
    """x0 within [-q, q] and divided by q, q the quantile of |x0| of each image, at least 1 (Saharia et al. 2022,
    arXiv:2205.11487, section 2.3)."""

    inner: Any
    quantile: float = 0.995

    def bounded(self, x0):
        size = jnp.abs(x0).reshape(len(x0), -1)
        q = over(jnp.maximum(jnp.quantile(size, self.quantile, axis=1), 1.0), x0)
        return jnp.clip(x0, -q, q) / q


def clip_x0(low=-1.0, high=1.0, rebuild=True):
    """Hold the predicted clean image within [low, high]; without `rebuild` eps stays that of what was not clipped."""
    finite("clip_x0", low=low, high=high)
    if not low < high:
        raise UsageError(f"clip_x0 needs low < high: got {low} and {high}")
    if not isinstance(rebuild, bool):
        raise UsageError(f"clip_x0.rebuild is True or False: got {rebuild!r}")
    return partial(ClipX0, low=float(low), high=float(high), rebuild=rebuild)


def dynamic_threshold(quantile=0.995):
    """Bring predicted clean images back into [-1, 1]: divided by the quantile of their sizes where that is above 1."""
    finite("dynamic_threshold", quantile=quantile)
    if not 0 < quantile <= 1:
        raise UsageError(f"dynamic_threshold.quantile is in (0, 1]: got {quantile}")
    return partial(DynamicThreshold, quantile=float(quantile))
