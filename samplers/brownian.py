"""Noise that is a part of one Brownian path per image, so that all step counts approximate the same solution."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

PATH = 2**32 - 2  # what an image's key is folded with for its path; rows take small numbers

Noise = Literal["fresh", "path"]  # independent in every row, or the increment of the image's path over the step


def along(noise: Noise, t: float, s: float) -> tuple[float, ...]:
    """`Row.path` of the noise of a step t -> s."""
    return (t, s) if noise == "path" else ()


def increments(path: jax.Array, keys: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """The increment of each image's Brownian path over [path[1], path[0]], a part of [0, 1], at unit variance:
    (B, *shape) for keys (B,)."""
    import diffrax  # local, because the import takes a second and only this option needs it

    low, high = jnp.min(path), jnp.max(path)

    def increment(key: jax.Array) -> Any:
        image = jax.ShapeDtypeStruct(tuple(shape), dtype)
        tree = diffrax.VirtualBrownianTree(0.0, 1.0, tol=2**-22, shape=image, key=jax.random.fold_in(key, PATH))
        return tree.evaluate(low, high)

    return jax.vmap(increment)(keys) / jnp.sqrt(high - low)
