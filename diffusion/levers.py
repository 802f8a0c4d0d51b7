"""Levers: training-free changes of a denoiser, each a function Denoiser -> Denoiser.

A lever is called with its settings and gives what wraps a denoiser: cfg(2.0)(den).  The wrapper is a registered
dataclass, so it passes through jax.jit with its numeric settings, floats, as leaves.  Mixing acts on x0 and eps and
drops var (a variance does not mix); clipping x0 rebuilds eps, and leaves what x0 may be beyond it.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from diffusion.arrays import over
from diffusion.curvature import curvature
from diffusion.denoiser import Cond, Pred, Wrapper


@register_dataclass
@dataclass(frozen=True)
class ClipX0(Wrapper):
    """x0 held within [low, high], eps rebuilt from it (Ho et al. 2020; algorithms.md E4), or left as it was, as
    Analytic-DPM's code does for DDIM.  The x0 of a jump that does not go to the end of the process is no image, and
    stays."""

    inner: Any
    low: float = -1.0
    high: float = 1.0
    rebuild: bool = field(default=True, metadata={"static": True})

    consistent = property(lambda self: self.rebuild and self.inner.consistent)

    def __call__(self, x, t, s=None, cond=Cond()):
        pred = self.inner(x, t, s, cond)
        alpha, sigma = self.process.alpha(over(t, x)), self.process.sigma(over(t, x))
        x0 = jnp.clip(pred.x0, self.low, self.high)
        if s is not None:
            x0 = jnp.where(over((s == t) | (s <= self.process.ends[1]), x0), x0, pred.x0)
        if not self.rebuild:
            return pred._replace(x0=x0)
        # eps moves by exactly what x0 gave up: elements that are not clipped keep the network's eps bit for bit.
        return pred._replace(x0=x0, eps=pred.eps + alpha * (pred.x0 - x0) / sigma)


@register_dataclass
@dataclass(frozen=True)
class CFG(Wrapper):
    """Classifier-free guidance: c + (scale - 1)(c - u), both branches in one call (Ho & Salimans 2022)."""

    inner: Any
    scale: float = 1.0

    def __call__(self, x, t, s=None, cond=Cond()):
        n = x.shape[0]
        null = jnp.full((n,), self.classes, jnp.int32)
        label = null if cond.label is None else cond.label
        both = jax.tree.map(lambda a: jnp.concatenate([a, a]), cond)._replace(label=jnp.concatenate([label, null]))
        t, s = (jnp.concatenate([a, a]) if a is not None and jnp.ndim(a) else a for a in (t, s))
        pred = self.inner(jnp.concatenate([x, x]), t, s, both)

        def guide(a):
            return a[:n] + (self.scale - 1) * (a[:n] - a[n:])

        return Pred(guide(pred.x0), guide(pred.eps))


@register_dataclass
@dataclass(frozen=True)
class Averaged(Wrapper):
    """The variance averaged over the elements of each image, the same for all of them (Bao et al. 2022b)."""

    inner: Any

    def __call__(self, x, t, s=None, cond=Cond()):
        pred = self.inner(x, t, s, cond)
        if pred.var is None:
            raise ValueError("averaged_variance is for a model that tells a variance: a second output, or curvature")
        whole = jnp.broadcast_to(pred.var, pred.x0.shape)
        return pred._replace(var=whole.mean(axis=tuple(range(1, whole.ndim)), keepdims=True))


def under(den, levers):
    """The denoiser under levers, the first innermost."""
    for lever in levers:
        den = lever(den)
    return den


def clip_x0(low=-1.0, high=1.0, rebuild=True):
    """Hold the predicted clean image within [low, high]; without `rebuild` eps stays that of what was not clipped."""
    if not low < high:
        raise ValueError(f"clip_x0 needs low < high: got {low} and {high}")
    return partial(ClipX0, low=float(low), high=float(high), rebuild=rebuild)


def averaged_variance():
    """One variance an image, in place of one for every element."""
    return Averaged


def cfg(scale):
    """Classifier-free guidance; 1 is the conditional model itself, 0 the unconditional one."""
    if not math.isfinite(scale):
        raise ValueError(f"cfg needs a finite scale: got {scale}")
    return partial(_guided, float(scale))


def _guided(scale, den):
    if not den.classes:
        raise ValueError("cfg needs a class-conditional model: this one was trained without labels")
    return CFG(den, scale)


LEVERS = {"clip_x0": clip_x0, "cfg": cfg, "averaged_variance": averaged_variance, "curvature": curvature}
