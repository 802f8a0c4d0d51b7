"""Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416)."""

import math
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from diffusion.denoiser import Pred
from diffusion.levers.checks import finite
from diffusion.levers.guidance import CFG, of_classes

_TINY = 1e-30


@register_dataclass
@dataclass(frozen=True)
class APG(CFG):
    """x0_c + (scale - 1)(across + eta along), what goes beyond x0_c divided into what is parallel to it, which makes
    colours burn, and the rest; eps rebuilt.

    What goes beyond is x0_c - x0_u plus `momentum` times that of the call before, no longer than `radius`.  (Libraries
    add scale times the projected part to x0_u, which is another formula once anything was projected away.)
    """

    eta: float = 0.0
    momentum: float = 0.0
    radius: float = math.inf

    remembers = True

    def mix(self, good, bad, t, cond):
        beyond = good.x0 - bad.x0
        if cond.memory:
            beyond = beyond + self.momentum * cond.memory[0]
        kept = beyond * jnp.minimum(1.0, self.radius / jnp.maximum(_norm(beyond), _TINY))
        along = _dot(kept, good.x0) / jnp.maximum(_dot(good.x0, good.x0), _TINY) * good.x0
        x0 = good.x0 + (self.scale - 1) * (kept - along + self.eta * along)
        return self.with_x0(Pred(good.x0, good.eps, memory=(beyond,)), x0, t)


def _dot(a, b):
    """(B, 1, ...) of images (B, ...)."""
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)


def _norm(a):
    return jnp.sqrt(_dot(a, a))


def apg(scale, eta=0.0, momentum=0.0, radius=math.inf):
    """Guidance without what lies along the prediction: `eta` of that stays, 1 is cfg; `momentum` (negative: away from
    the calls before), `radius` of an image's norm."""
    finite("apg", scale=scale, eta=eta, momentum=momentum)
    if not radius > 0:
        raise ValueError(f"apg.radius is above 0: got {radius}")
    settings = {"eta": float(eta), "momentum": float(momentum), "radius": float(radius)}
    return partial(of_classes, "apg", APG, scale=float(scale), **settings)
