"""One variance an image (Bao et al. 2022b, arXiv:2206.07309)."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, Wrapper
from fewstep.diffusion.errors import UsageError


@register_dataclass
@dataclass(frozen=True)
class Averaged(Wrapper):
    """The variance averaged over the elements of each image, the same for all of them."""

    inner: Any

    variance_alone = True

    def __call__(self, x, t, s=None, cond=Cond()):
        pred = self.inner(x, t, s, cond)
        if pred.var is None:
            raise UsageError("averaged_variance is for a model that tells a variance: a second output, or curvature")
        whole = jnp.broadcast_to(pred.var, pred.x0.shape)
        return pred._replace(var=whole.mean(axis=tuple(range(1, whole.ndim)), keepdims=True))


def averaged_variance():
    """One variance an image, in place of one for every element."""
    return Averaged
