"""Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416)."""

import math
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Pred
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite, is_number
from fewstep.diffusion.levers.guidance import CFG, of_classes

_TINY = 1e-30


@register_dataclass
@dataclass(frozen=True)
class APG(CFG):
    """x0_c + (scale - 1)(across + eta along), what goes beyond x0_c divided into what is parallel to it, which makes
    colours burn, and the rest; eps rebuilt.

    What goes beyond is x0_c - x0_u plus `momentum` times that of the call before in a draw (asked outside one, as for
    statistics and likelihoods, there is none before), no longer than `radius`.  Libraries add scale times the projected
    part to x0_u, which is another formula once anything was projected away.
    """

    eta: float = 0.0
    momentum: float = 0.0
    radius: float = math.inf

    remembers = True

    def mix(self, good, bad, t, cond):
        beyond = good.x0 - bad.x0
        if cond.memory:
            beyond = beyond + self.momentum * cond.memory[0]
        length = jnp.sqrt(jnp.maximum(_dot(beyond, beyond), _TINY))  # whose derivative at 0 is finite
        kept = beyond / jnp.maximum(1.0, length / self.radius)
        along = _dot(kept, good.x0) / jnp.maximum(_dot(good.x0, good.x0), _TINY) * good.x0
        x0 = good.x0 + (self.scale - 1) * (kept - along + self.eta * along)
        return self.with_x0(Pred(good.x0, good.eps, memory=(beyond,)), x0, t)


def _dot(a, b):
    """(B, 1, ...) of images (B, ...)."""
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)


def apg(scale, eta=0.0, momentum=0.0, radius=math.inf):
    """Guidance without what lies along the prediction: `eta` of that stays, 1 is cfg; `momentum` (the paper's is -0.5:
    away from the calls before), `radius` of an image's norm, which goes by the size of images."""
    finite("apg", scale=scale, eta=eta, momentum=momentum)
    if not (is_number(radius) and radius > 0):
        raise UsageError(f"apg.radius is above 0: got {radius!r}")
    settings = {"eta": float(eta), "momentum": float(momentum), "radius": float(radius)}
    return partial(of_classes, "apg", APG, scale=float(scale), **settings)
