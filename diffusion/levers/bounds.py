"""Bounds on the predicted clean image (algorithms.md E4); eps is recomputed.  Samplers then lose their order."""

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, over
from fewstep.diffusion.denoiser import Cond, Lever, Pred, Wrapper
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError
from fewstep.ranges import LARGE, Range, checked

Bound = Annotated[float, Range(-LARGE, LARGE)]


class _Bounded(Wrapper):
    """Replaces x0 by `bounded(x0)`, except for jumps that end before the process does, where x0 is not an image."""

    def bounded(self, x0: Array) -> Array:
        """x0 (B, ...) within the bounds."""
        raise NotImplementedError

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        pred = self.inner(x, t, s, cond)
        x0 = self.bounded(pred.x0)
        if s is not None:
            x0 = jnp.where(over((s == t) | (s <= self.process.ends[1]), x0), x0, pred.x0)
        return self.with_x0(pred, x0, t)


@register_dataclass
@dataclass(frozen=True)
class ClipX0(_Bounded):
    """x0 clipped to [low, high] (Ho et al. 2020); without `rebuild` eps is kept, as in Analytic-DPM's code for DDIM."""

    inner: Any
    low: float = -1.0
    high: float = 1.0
    rebuild: bool = field(default=True, metadata={"static": True})

    @property
    def consistent(self) -> bool:
        return self.rebuild and self.inner.consistent

    def bounded(self, x0: Array) -> Array:
        return jnp.clip(x0, self.low, self.high)

    def with_x0(self, pred: Pred, x0: Array, t: Number) -> Pred:
        return super().with_x0(pred, x0, t) if self.rebuild else pred._replace(x0=x0)


@register_dataclass
@dataclass(frozen=True)
class DynamicThreshold(_Bounded):
    """x0 clipped to [-q, q] and divided by q, where q is the quantile of |x0| per image, at least 1 (Saharia et al.
    2022, arXiv:2205.11487, section 2.3)."""

    inner: Any
    quantile: float = 0.995

    def bounded(self, x0: Array) -> Array:
        size = jnp.abs(x0).reshape(len(x0), -1)
        q = over(jnp.maximum(jnp.quantile(size, self.quantile, axis=1), 1.0), x0)
        return jnp.clip(x0, -q, q) / q


@named
@checked
def clip_x0(low: Bound = -1.0, high: Bound = 1.0, rebuild: bool = True) -> Lever:
    """Clips the predicted clean image to [low, high] and recomputes eps; without `rebuild` eps is kept."""
    if not low < high:
        raise UsageError(f"clip_x0 needs low < high: got {low} and {high}")
    if not isinstance(rebuild, bool):
        raise UsageError(f"clip_x0.rebuild is True or False: got {rebuild!r}")
    return partial(ClipX0, low=float(low), high=float(high), rebuild=rebuild)


@named
@checked
def dynamic_threshold(quantile: Annotated[float, Range(above=0, most=1)] = 0.995) -> Lever:
    """Brings predicted clean images into [-1, 1]: divided by the quantile of |x0| where that is above 1."""
    return partial(DynamicThreshold, quantile=float(quantile))
