"""Predictions of a denoiser for many states, in batches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.denoiser import Cond, DenoiserLike


def predictions(den: DenoiserLike, x: np.ndarray, t: float, cond: Cond = Cond(), batch: int = 64) -> np.ndarray:
    """The clean images predicted from the states x (B, ...) at one time."""
    found = []
    for first in range(0, len(x), batch):
        rows = np.minimum(np.arange(first, first + batch), len(x) - 1)
        part = jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], cond)
        new = _predict(den, jnp.asarray(x[rows], jnp.zeros(()).dtype), jnp.asarray(t, jnp.zeros(()).dtype), part)
        found.append(np.asarray(new)[: len(x) - first])
    return np.concatenate(found)


@partial(jax.jit)
def _predict(den, x, t, cond):
    return den(x, t, None, cond).x0
