"""Positions of image tokens: added to the tokens (sines and cosines), or rotations of queries and keys (rotary)."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array

SPREAD = 10_000.0, 100.0  # largest over smallest wavelength, which is 2 pi tokens: of sincos, of rotary


def places(grid: tuple[int, int], trained: tuple[int, int]) -> np.ndarray:
    """(rows * columns, 2) float64: row and column of each token of a grid (rows, columns), in units of training tokens.

    A grid of another size covers the same image: token i of n is at (i + 1/2) n0 / n - 1/2, with n0 in training.
    """
    axes = [(np.arange(n) + 0.5) * n0 / n - 0.5 for n, n0 in zip(grid, trained, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)


def _angles(places: np.ndarray, count: int, spread: float) -> np.ndarray:
    """(N, 2, count) float32: places (N, 2) times `count` geometric frequencies."""
    frequencies = spread ** -(np.arange(count) / count)
    return (places[..., None] * frequencies).astype(np.float32)


def sincos(places: np.ndarray, width: int) -> np.ndarray:
    """(N, width) float32: sines and cosines of rows, then of columns, of places (N, 2); width is a multiple of 4.

    As in MAE and DiT (He et al. 2021, arXiv:2111.06377; Peebles & Xie 2022, arXiv:2212.09748).
    """
    angles = _angles(places, width // 4, SPREAD[0])
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(angles), width)


def rotary(places: np.ndarray, size: int) -> Callable[[Array], Array]:
    """A function that rotates queries or keys (B, N, heads, size) by their places (N, 2); size is a multiple of 4.

    Pairs of features rotate by frequency times row in one half, times column in the other, so that the product of a
    query and a key depends on the difference of their places (Su et al. 2021, arXiv:2104.09864, in two dimensions).
    """
    angles = _angles(places, size // 4, SPREAD[1]).reshape(len(places), 1, size // 2)
    return partial(_rotated, cos=np.cos(angles), sin=np.sin(angles))


def _rotated(x: Array, cos: np.ndarray, sin: np.ndarray) -> Array:
    wide = x.astype(jnp.float32)
    a, b = jnp.split(wide, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
