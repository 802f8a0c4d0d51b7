"""A lever restricted to an interval of noise levels (for guidance Kynkäänniemi et al. 2024, arXiv:2404.07724)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, over
from fewstep.diffusion.denoiser import Cond, Lever, Pred, Under, Wrapper
from fewstep.diffusion.levers.checks import remembers
from fewstep.diffusion.levers.conditioning import ConditioningLever
from fewstep.diffusion.levers.trained_guidance import TrainedGuidance
from fewstep.diffusion.naming import named
from fewstep.diffusion.predict import predict_shape
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked


def switched(on: Array, active: Callable[[], Any], passive: Callable[[], Any]) -> Any:
    """active() where `on`, else passive(), with equal structures; only one of the two runs if `on` is a scalar."""
    if jnp.ndim(on) == 0:
        return jax.lax.cond(on, active, passive)
    return jax.tree.map(lambda a, b: jnp.where(over(on, a), a, b), active(), passive())


@register_dataclass
@dataclass(frozen=True)
class Interval(Wrapper):
    """Applies the lever just inside where low < sigma / alpha <= high; elsewhere it is off, and costs nothing."""

    inner: Any
    low: float = 0.0
    high: float = math.inf

    @property
    def without(self) -> Any:
        return self.inner.without

    @property
    def keeps_variance(self) -> bool:
        return self.inner.keeps_variance

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        on = jnp.asarray((sigma > self.low * alpha) & ~(sigma > self.high * alpha))  # NaN = inf * 0 compares as False
        if isinstance(self.inner, ConditioningLever):
            return self.without(x, t, s, self.inner.conditioning(cond, len(x), on))
        # The memory belongs to the lever just inside, which keeps it while it is off, or to one further in.
        owned = remembers(self.inner) and not remembers(self.without)
        memory = cond.memory
        if owned and not memory:
            shapes = predict_shape(self.inner, x, t, s, cond).memory
            memory = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

        def passive():
            pred = self.without(x, t, s, cond._replace(memory=()) if owned else cond)
            pred = pred._replace(memory=memory) if owned else pred
            return pred if self.keeps_variance else pred._replace(var=None, range=None)

        return switched(on, lambda: self.inner(x, t, s, cond), passive)


@named
@checked
def interval(
    low: Annotated[float, Range(0)] = 0.0, high: Annotated[float, Range(above=0, most=math.inf)] = math.inf
) -> Lever:
    """Restricts the lever just inside to noise levels sigma / alpha in (low, high]."""
    if not low < high:
        raise UsageError(f"interval needs low < high: got {low!r} and {high!r}")
    return partial(_within, float(low), float(high))


def _within(low, high, den):
    if not isinstance(den, Wrapper) or isinstance(den, Under):
        raise UsageError(
            "interval is for the lever just inside it: give it right after one, as in interval(0.2, 2)(cfg(2)(den))"
        )
    if getattr(den, "variance_alone", False):
        raise UsageError("interval is for levers that change x0 and eps, and the one inside only estimates a variance")
    if isinstance(den, TrainedGuidance):
        return den.within(low, high)
    return Interval(den, low, high)
