"""Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416)."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import Number
from fewstep.diffusion.denoiser import Cond, Lever, Pred
from fewstep.diffusion.levers.guidance import CFG, Scale, class_guidance
from fewstep.diffusion.naming import named
from fewstep.ranges import Range, Share, checked

_TINY = 1e-30


@register_dataclass
@dataclass(frozen=True)
class APG(CFG):
    """x0_c + (scale - 1)(orthogonal + eta parallel); eps is recomputed.  The guidance direction is split into its
    component parallel to x0_c, which oversaturates colours, and the orthogonal one.

    The direction is x0_c - x0_u plus `momentum` times the direction of the previous call in a draw, and is shortened to
    the norm `radius` if longer.  Outside a draw, as for statistics and likelihoods, there is no previous call.
    Libraries add scale times the projected part to x0_u, which differs once a component is projected away.
    """

    eta: float = 0.0
    momentum: float = 0.0
    radius: float = math.inf

    remembers = True

    def mix(self, good: Pred, bad: Pred, t: Number, cond: Cond) -> Pred:
        direction = good.x0 - bad.x0
        if cond.memory:
            direction = direction + self.momentum * cond.memory[0]
        length = jnp.sqrt(jnp.maximum(_dot(direction, direction), _TINY))  # whose derivative at 0 is finite
        kept = direction / jnp.maximum(1.0, length / self.radius)
        parallel = _dot(kept, good.x0) / jnp.maximum(_dot(good.x0, good.x0), _TINY) * good.x0
        x0 = good.x0 + (self.scale - 1) * (kept - parallel + self.eta * parallel)
        return self.with_x0(Pred(good.x0, good.eps, memory=(direction,)), x0, t)


def _dot(a: Array, b: Array) -> Array:
    """The inner products (B, 1, ...) of images (B, ...)."""
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)


@named
@checked
def apg(
    scale: Scale,
    eta: Share = 0.0,
    momentum: Annotated[float, Range(above=-1, below=1)] = 0.0,
    radius: Annotated[float, Range(above=0, most=math.inf)] = math.inf,
) -> Lever:
    """Guidance without the component parallel to the prediction; a share `eta` of that is kept, 1 is cfg.

    momentum: weight of the previous directions (-0.5 in the paper: away from them).  radius: the largest norm of the
    direction of an image, which scales with the size of images.
    """
    settings = {"eta": float(eta), "momentum": float(momentum), "radius": float(radius)}
    return partial(class_guidance, "apg", APG, scale=float(scale), **settings)
