"""One variance per image (Bao et al. 2022b, arXiv:2206.07309)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond, Lever, Pred, Wrapper
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError


@register_dataclass
@dataclass(frozen=True)
class Averaged(Wrapper):
    """Replaces the variance by its mean over the elements of each image."""

    inner: Any

    variance_alone = True

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        pred = self.inner(x, t, s, cond)
        if pred.var is None:
            raise UsageError("averaged_variance requires a variance, from a second output or the lever curvature")
        whole = jnp.broadcast_to(pred.var, pred.x0.shape)
        return pred._replace(var=whole.mean(axis=tuple(range(1, whole.ndim)), keepdims=True))


@named
def averaged_variance() -> Lever:
    """One variance per image instead of one per element."""
    return partial(Averaged)
