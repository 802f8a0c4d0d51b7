"""The 256 levels of 8-bit images in [-1, 1], and their code length under a normal distribution."""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import log_ndtr

from fewstep.diffusion.arrays import AnyArray, Number

LEVELS = 256  # level k is the interval of width 2 / 255 around k / 127.5 - 1


def nearest(x0: AnyArray) -> Array:
    """The center of the level of each element."""
    return jnp.round(jnp.clip(x0, -1.0, 1.0) * 127.5 + 127.5) / 127.5 - 1


def cost(x0: AnyArray, mean: AnyArray, deviation: Number) -> Array:
    """-log p in nats of each level x0 under N(mean, deviation^2); the first and the last level are open-ended (Ho et
    al. 2020, arXiv:2006.11239 eq. 13)."""
    half = 1 / (LEVELS - 1)
    low, high = ((x0 + side - mean) / deviation for side in (-half, half))
    low, high = jnp.where(x0 < -1 + half, -jnp.inf, low), jnp.where(x0 > 1 - half, jnp.inf, high)
    mirrored = low + high > 0  # so that the difference is between small tails, not between numbers near 1
    low, high = jnp.where(mirrored, -high, low), jnp.where(mirrored, -low, high)
    upper, lower = log_ndtr(high), log_ndtr(low)
    return -(upper + jnp.log1p(-jnp.exp(lower - upper)))
