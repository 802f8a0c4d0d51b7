"""The noise that a row of a table adds: its standard deviation, and its draw for each image."""

import jax
import jax.numpy as jnp

from fewstep.diffusion.denoiser import Pred
from fewstep.samplers.brownian import increments
from fewstep.samplers.tableau import Tableau


def deviation(table: Tableau, i: jax.Array, pred: Pred, spread: bool, stretch: bool) -> jax.Array:
    """sd of row i: a number, or one per element if it depends on the prediction, as `spread` and `stretch` say."""
    if not (spread or stretch):
        return table.noise[i]
    var = table.noise[i] ** 2
    if stretch and pred.range is not None:
        var = var * table.stretch[i] ** (2 * pred.range)
    if spread and pred.var is not None:
        var = var + jnp.minimum(table.spread[i] ** 2 * pred.var, table.cap[i])
    return jnp.sqrt(var)


def noise(table: Tableau, i: jax.Array, keys: jax.Array, x: jax.Array, path: bool) -> jax.Array:
    """Standard normal noise of row i for images x (B, ...), with one key per image; path: some row's noise is a part of
    the image's Brownian path."""
    fresh = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i + 1), x.shape[1:], x.dtype))
    if not path:
        return fresh(keys)
    part = table.path[i]
    return jax.lax.cond(jnp.isnan(part[0]), lambda: fresh(keys), lambda: increments(part, keys, x.shape[1:], x.dtype))
