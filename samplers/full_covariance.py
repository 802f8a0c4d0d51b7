"""Steps with noise of the full posterior covariance, from the Jacobian of the network.  They are not rows of a table,
whose noise has one number per step or per element."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.denoiser import Cond, DenoiserLike
from fewstep.diffusion.levers.curvature import covariance_times
from fewstep.errors import UsageError
from fewstep.samplers.start import Seeds, as_seeds, started
from fewstep.samplers.tableau import Tableau


def draw_full_covariance(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    products: int = 8,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
) -> jax.Array:
    """Images (B, *shape) of the seeds by a table with the optimal variance (`analytic_ddpm`, `analytic_ddim`), with
    noise^2 I + spread^2 Cov[x0 | x_t] in place of noise^2 + spread^2 Var.

    Its root times noise is computed in the Krylov space of `products` products with the covariance (Lanczos' method;
    Chow & Saad 2014), at the cost of about two passes each.  `start` and `cond` as in `draw`.  Raises UsageError for a
    table with remembered predictions, learned variances, jumps or a bound.
    """
    if table.past.any() or (table.stretch != 1).any() or np.isfinite(table.s).any():
        raise UsageError(
            "a full covariance requires steps that remember no predictions, learn no range and do not jump"
        )
    if np.isfinite(table.cap).any():
        raise UsageError("a full covariance has no bound: leave out the sampler's option grey")
    if products != int(products) or products < 1:
        raise UsageError(f"products is a whole number, at least 1: got {products}")
    seeds = as_seeds(seeds)
    rows = {name: np.asarray(getattr(table, name), np.float32) for name in ("t", "x", "x0", "eps", "noise", "spread")}
    if start is None:
        start = started(den.process, table, seeds, tuple(shape))
    return _run(tuple(shape), int(products), den, rows, jax.vmap(jax.random.key)(seeds), cond, jnp.asarray(start))


@partial(jax.jit, static_argnums=(0, 1))
def _run(shape, products, den: DenoiserLike, rows, keys, cond, x):
    def step(carry, row):
        x, i = carry
        pred = den(x, row["t"], None, cond)
        new = row["x"] * x + row["x0"] * pred.x0 + row["eps"] * pred.eps
        z = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i + 1), shape, x.dtype))(keys)

        def noised():
            times = partial(covariance_times, den, x, row["t"], cond=cond)
            root = partial(_deviation, row["noise"], row["spread"])
            return new + matrix_function(times, z, root, products)

        x = jax.lax.cond(row["spread"] > 0, noised, lambda: new + row["noise"] * z)
        return (x, i + 1), None

    return jax.lax.scan(step, (x, 0), rows)[0][0]


def _deviation(noise: jax.Array, spread: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.sqrt(noise**2 + spread**2 * jnp.maximum(value, 0.0))


def matrix_function(
    times: Callable[[jax.Array], jax.Array], z: jax.Array, function: Callable[[jax.Array], jax.Array], products: int
) -> jax.Array:
    """f(C) z for the symmetric C of v -> times(v), v and z (B, ...), by Lanczos' method with full reorthogonalisation;
    each element of the batch has its own C."""
    size = len(z)
    flat, norm = z.reshape(size, -1), jnp.linalg.norm(z.reshape(size, -1), axis=1)
    basis = jnp.zeros((products + 1, *flat.shape), z.dtype).at[0].set(flat / norm[:, None])
    band = jnp.zeros((products, size), z.dtype)

    def grow(j, state):
        basis, diagonal, off_diagonal = state
        w = times(basis[j].reshape(z.shape)).reshape(size, -1)
        diagonal = diagonal.at[j].set((basis[j] * w).sum(1))
        for _ in range(2):
            w = w - jnp.einsum("kbd,kb->bd", basis, jnp.einsum("kbd,bd->kb", basis, w))
        length = jnp.linalg.norm(w, axis=1)
        found = length > 1e-5 * (jnp.abs(diagonal[j]) + 1e-20)  # else the space is exhausted
        off_diagonal = off_diagonal.at[j].set(jnp.where(found, length, 0.0))
        w = jnp.where(found[:, None], w / jnp.maximum(length, 1e-30)[:, None], 0.0)
        return basis.at[j + 1].set(w), diagonal, off_diagonal

    basis, diagonal, off_diagonal = jax.lax.fori_loop(0, products, grow, (basis, band, band))
    inner = jax.vmap(lambda a, b: jnp.diag(a) + jnp.diag(b[:-1], 1) + jnp.diag(b[:-1], -1), 1)(diagonal, off_diagonal)
    values, vectors = jnp.linalg.eigh(inner)
    weights = jnp.einsum("bij,bj,bj->bi", vectors, function(values), vectors[:, 0])
    return (norm[:, None] * jnp.einsum("kbd,bk->bd", basis[:products], weights)).reshape(z.shape)
