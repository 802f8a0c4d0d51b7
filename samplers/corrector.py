"""Predictor-corrector sampling whose Langevin steps are as long as the norms of each image say (Song et al. 2021,
arXiv:2011.13456 algorithm 4).  Norms are not known before anything is drawn, so these steps are not rows of a table."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.arrays import AnyArray, over
from fewstep.diffusion.denoiser import Cond, DenoiserLike
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.checks import check_arguments, check_capabilities
from fewstep.samplers.start import Seeds, as_seeds, started
from fewstep.samplers.tableau import Tableau


@checked
def draw_corrected(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    snr: Annotated[float, Range(above=0, below=1)] = 0.16,
    corrections: Annotated[int, Range(1, 10_000)] = 1,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
) -> jax.Array:
    """Images (B, *shape) of the seeds by a table of one call per step (`ddpm`, `euler_maruyama`), with Langevin steps
    after each row but the last, at the time of the next one:

        x <- x + delta score + sqrt(2 delta) z,   score = -eps / sigma,   delta = 2 (snr |z| / |score|)^2

    The norms are those of the image; published code takes their means over the batch, on which an image then depends.
    Its factor 1 - beta of delta, 0.98 or more, is left out.  `langevin` has sigma in place of |z| / |score|.  Noise is
    that of `langevin`'s rows.  1 + corrections calls per row, 1 on the last.  `start` and `cond` as in `draw`.

    Raises UsageError for a table with remembered predictions, variances of the prediction, jumps or a Brownian path.
    """
    other = table.past.any() or table.spread.any() or (table.stretch != 1).any()
    if other or np.isfinite(table.s).any() or np.isfinite(table.path).any():
        raise UsageError("a corrector requires a predictor of one call per step with plain noise, such as ddpm")
    seeds, shape = as_seeds(seeds), tuple(shape)
    check_capabilities(den, table)
    check_arguments(den, len(seeds), shape, cond, start)
    rows = {name: jnp.asarray(getattr(table, name)) for name in ("t", "x", "x0", "eps", "noise")}
    rows["next"] = jnp.roll(rows["t"], -1)  # of no meaning after the last row
    if start is None:
        start = started(den.process, table, seeds, shape)
    return _run(int(corrections), den, rows, snr, seeds, cond, jnp.asarray(start, rows["t"].dtype))


@partial(jax.jit, static_argnums=0)
def _run(corrections, den: DenoiserLike, rows, snr, seeds, cond, x):
    keys, last = jax.vmap(jax.random.key)(seeds), len(rows["t"]) - 1

    def noise(at):
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, at + 1), x.shape[1:], x.dtype))(keys)

    def corrected(x, t, at):
        score, z = -den(x, t, None, cond).eps / den.process.sigma(t), noise(at)
        delta = 2 * (snr * _norm(z) / _norm(score)) ** 2
        return x + over(delta, x) * score + over(jnp.sqrt(2 * delta), x) * z

    def step(x, told):
        i, row = told
        at = i * (1 + corrections)
        pred = den(x, row["t"], None, cond)
        x = row["x"] * x + row["x0"] * pred.x0 + row["eps"] * pred.eps + row["noise"] * noise(at)

        def again(x):
            return jax.lax.fori_loop(0, corrections, lambda k, x: corrected(x, row["next"], at + 1 + k), x)

        return jax.lax.cond(i < last, again, lambda x: x, x), None

    return jax.lax.scan(step, x, (jnp.arange(last + 1), rows))[0]


def _norm(x):
    return jnp.linalg.norm(x.reshape(len(x), -1), axis=1)
