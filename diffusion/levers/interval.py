"""A lever in a part of the noise levels alone (for guidance Kynkäänniemi et al. 2024, arXiv:2404.07724)."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from diffusion.arrays import over
from diffusion.denoiser import Cond, Pred, Under, Wrapper


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

    def __call__(self, x, t, s=None, cond=Cond()):
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        on = jnp.asarray((sigma > self.low * alpha) & ~(sigma > self.high * alpha))  # inf * 0 is above nothing
        expected = jax.eval_shape(self.inner, x, t, s, cond)

        def passive():
            pred = self.without(x, t, s, cond)
            waiting = cond.memory or jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), expected.memory)
            var, range = (getattr(pred, name) if getattr(expected, name) is not None else None for name in _TOLD)
            return Pred(pred.x0, pred.eps, var, range, pred.memory or waiting)

        return switched(on, lambda: self.inner(x, t, s, cond), passive)


_TOLD = ("var", "range")


def interval(low=0.0, high=math.inf):
    """The lever just inside for noise levels sigma / alpha in (low, high] alone."""
    if not 0 <= low < high:
        raise ValueError(f"interval needs 0 <= low < high: got {low} and {high}")
    return partial(_within, float(low), float(high))


def _within(low, high, den):
    if not isinstance(den, Wrapper) or isinstance(den, Under):
        raise ValueError("interval is for the lever just inside it: give it right after one, such as cfg")
    if getattr(den, "variance_alone", False):
        raise ValueError("interval is for levers that change what is predicted, and the one inside tells a variance")
    return Interval(den, low, high)
