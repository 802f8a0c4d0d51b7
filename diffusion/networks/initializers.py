"""Initial weights from a counter-based hash: the same bits eagerly, under jit and for every sharding.

jax.random would work too, but XLA on CPU compiles threefry again for every shape of a kernel, 0.6 s each.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def _mixed(x):
    """32 bits into 32 bits, one to one: the RXS-M-XS permutation of PCG (Jarzynski & Olano 2020, JCGT 9(3))."""
    x = x * jnp.uint32(747796405) + jnp.uint32(2891336453)
    x = ((x >> ((x >> 28) + 4)) ^ x) * jnp.uint32(277803737)
    return (x >> 22) ^ x


@jax.jit(static_argnums=(1, 2))
def _uniform(key, shape, std):
    low, high = jax.random.key_data(key).ravel()[:2]
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    bits = _mixed(_mixed(_mixed(index) ^ low) ^ high)
    halves = jax.lax.bitcast_convert_type((bits >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1.5
    return halves * jnp.float32(std * math.sqrt(12))


def unit(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform with mean 0 and variance 1."""
    return _uniform(key, tuple(shape), 1.0).astype(dtype)


def fan_in(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform with mean 0 and variance 1 / prod(shape[:-1]), one over the number of inputs of an output (LeCun et al.
    1998)."""
    return _uniform(key, tuple(shape), math.prod(shape[:-1]) ** -0.5).astype(dtype)
