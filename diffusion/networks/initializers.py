"""Initial weights from a counter-based hash: the same bits eagerly, under jit and for every sharding.

jax.random would work too, but XLA on CPU compiles threefry again for every shape of a kernel, 0.6 s each.  The
hash is written in lax, which is traced in a third of the time of jax.numpy, for every shape.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def _mixed(x):
    """32 bits into 32 bits, one to one: the RXS-M-XS permutation of PCG (Jarzynski & Olano 2020, JCGT 9(3))."""
    x = lax.add(lax.mul(x, np.uint32(747796405)), np.uint32(2891336453))
    by = lax.add(lax.shift_right_logical(x, np.uint32(28)), np.uint32(4))
    x = lax.mul(lax.bitwise_xor(lax.shift_right_logical(x, by), x), np.uint32(277803737))
    return lax.bitwise_xor(lax.shift_right_logical(x, np.uint32(22)), x)


@jax.jit(static_argnums=(1, 2))
def _uniform(key, shape, std):
    low, high = jax.random.key_data(key).ravel()[:2]
    index = lax.reshape(lax.iota(jnp.uint32, math.prod(shape)), shape)
    bits = _mixed(lax.bitwise_xor(_mixed(lax.bitwise_xor(_mixed(index), low)), high))
    ones = lax.bitwise_or(lax.shift_right_logical(bits, np.uint32(9)), np.uint32(0x3F800000))
    halves = lax.sub(lax.bitcast_convert_type(ones, jnp.float32), np.float32(1.5))
    return lax.mul(halves, np.float32(std * math.sqrt(12)))


def unit(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform with mean 0 and variance 1."""
    return _uniform(key, tuple(shape), 1.0).astype(dtype)


def fan_in(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform with mean 0 and variance 1 / prod(shape[:-1]), one over the number of inputs of an output (LeCun et al.
    1998)."""
    return _uniform(key, tuple(shape), math.prod(shape[:-1]) ** -0.5).astype(dtype)
