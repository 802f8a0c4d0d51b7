"""Where a token of an image sits: added to it (sines and cosines), or turned into queries and keys (rotary)."""

from functools import partial

import jax.numpy as jnp
import numpy as np

SPREAD = 10_000.0, 100.0  # wavelengths from 2 pi tokens to so many times that: of sincos, of rotary


def _angles(rows, columns, count, spread):
    """(rows * columns, 2, count) float32: row and column of each token times `count` geometric frequencies."""
    frequencies = spread ** -(np.arange(count) / count)
    place = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    return (place[..., None] * frequencies).astype(np.float32)


def sincos(rows, columns, width):
    """(rows * columns, width) float32: sines and cosines of rows, then of columns; width a multiple of 4.

    As in MAE and DiT (He et al. 2021, arXiv:2111.06377; Peebles & Xie 2022, arXiv:2212.09748).
    """
    angles = _angles(rows, columns, width // 4, SPREAD[0])
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(angles), width)


def rotary(rows, columns, size):
    """A function that turns queries or keys (B, rows * columns, heads, size) by their places; size a multiple of 4.

    Pairs of features turn by frequency times row in one half, times column in the other, so that a product of a query
    and a key depends on the difference of their places (Su et al. 2021, arXiv:2104.09864, in two dimensions).
    """
    angles = _angles(rows, columns, size // 4, SPREAD[1]).reshape(rows * columns, 1, size // 2)
    return partial(_turned, cos=np.cos(angles), sin=np.sin(angles))


def _turned(x, cos, sin):
    wide = x.astype(jnp.float32)
    a, b = jnp.split(wide, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
