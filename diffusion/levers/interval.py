"""A lever in a part of the noise levels alone (for guidance Kynkäänniemi et al. 2024, arXiv:2404.07724)."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Under, Wrapper, predict_shape
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import is_number, remembers
from fewstep.diffusion.levers.conditioning import ConditioningLever


def switched(on, active, passive):
    """active() where `on`, else passive(), both of one structure; of the two, one is run where `on` is a scalar."""
    if jnp.ndim(on) == 0:
        return jax.lax.cond(on, active, passive)
    return jax.tree.map(lambda a, b: jnp.where(over(on, a), a, b), active(), passive())


@register_dataclass
@dataclass(frozen=True)
class Interval(Wrapper):
    """The lever just inside where low < sigma / alpha <= high; elsewhere it is not there, and costs nothing."""

    inner: Any
    low: float = 0.0
    high: float = math.inf

    without = property(lambda self: self.inner.without)
    keeps_variance = property(lambda self: self.inner.keeps_variance)

    def __call__(self, x, t, s=None, cond=Cond()):
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        on = jnp.asarray((sigma > self.low * alpha) & ~(sigma > self.high * alpha))  # inf * 0 is above nothing
        if isinstance(self.inner, ConditioningLever):
            return self.without(x, t, s, self.inner.tell(cond, len(x), on))
        # The memory is that of the lever inside, which keeps it while it is off, or of one further in.
        mine = remembers(self.inner) and not remembers(self.without)
        memory = cond.memory
        if mine and not memory:
            shapes = predict_shape(self.inner, x, t, s, cond).memory
            memory = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

        def passive():
            pred = self.without(x, t, s, cond._replace(memory=()) if mine else cond)
            pred = pred._replace(memory=memory) if mine else pred
            return pred if self.keeps_variance else pred._replace(var=None, range=None)

        return switched(on, lambda: self.inner(x, t, s, cond), passive)


def interval(low=0.0, high=math.inf):
    """The lever just inside for noise levels sigma / alpha in (low, high] alone."""
    if not (is_number(low) and is_number(high) and 0 <= low < high):
        raise UsageError(f"interval needs 0 <= low < high: got {low!r} and {high!r}")
    return partial(_within, float(low), float(high))


def _within(low, high, den):
    if not isinstance(den, Wrapper) or isinstance(den, Under):
        raise UsageError(
            "interval is for the lever just inside it: give it right after one, --lever cfg --lever interval"
        )
    if getattr(den, "variance_alone", False):
        raise UsageError("interval is for levers that change what is predicted, and the one inside tells a variance")
    return Interval(den, low, high)
