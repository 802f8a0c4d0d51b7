"""What is measured of a denoiser on clean images at several noise levels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.denoiser import Cond, DenoiserLike

Measured = Callable[[DenoiserLike, AnyArray, np.float32, jax.Array, Cond], jax.Array]


def at_levels(
    measured: Measured,
    den: DenoiserLike,
    x0: AnyArray,
    lam: np.ndarray,
    seed: int,
    cond: Cond,
    batch: int,
    show: Callable[[int], Any] | None,
) -> np.ndarray:
    """measured(den, x0 (B, ...), t, keys (B,), cond) -> (M, B) on clean images x0 (N, ...) with their `cond`, at half
    log-SNRs `lam` (K,): (K, M, N) in float64.

    Each image has one key, the same at all K.  show: called with the number of images done.
    """
    times, found = np.asarray(den.process.time(lam), np.float64), []
    for first in range(0, len(x0), batch):
        at = np.minimum(np.arange(first, first + batch), len(x0) - 1)
        part, part_cond = jax.tree.map(lambda a, at=at: np.asarray(a)[at], (x0, cond))
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(at)
        points = np.stack([np.asarray(measured(den, part, np.float32(t), keys, part_cond)) for t in times])
        found.append(points[..., : len(x0) - first])
        if show is not None:
            show(min(first + batch, len(x0)))
    return np.concatenate(found, -1).astype(np.float64)
