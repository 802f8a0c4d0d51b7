"""Log-likelihood of images in bits per dimension: the variational bound of DDPM's chain, and the exact one of the
probability-flow ODE."""

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion import Cond, levels
from fewstep.diffusion.arrays import over
from fewstep.diffusion.calibrate import DEVIATIONS
from fewstep.diffusion.posterior import divergence, posterior
from fewstep.diffusion.predict import predict_shape
from fewstep.errors import UsageError
from fewstep.samplers import Tableau
from fewstep.samplers.checks import check_variance_known
from fewstep.samplers.loop import fetched, with_keys


class Bound(NamedTuple):
    """The terms of -log p(x0) <= prior + steps + decoder, in bits per dimension of each image."""

    prior: np.ndarray  # (N,)
    steps: np.ndarray  # (N, K - 1)
    decoder: np.ndarray  # (N,)

    @property
    def total(self) -> np.ndarray:
        return self.prior + self.steps.sum(1) + self.decoder


def vlb(den: Any, table: Tableau, images: np.ndarray, seed: int = 0, cond: Cond = Cond(), batch: int = 64) -> Bound:
    """The variational bound of images (N, ...) with values k / 127.5 - 1, for a table with DDPM's mean (ddpm,
    analytic_ddpm) that ends at t = 0, and its variance: KL(q(x_s | x_t, x0) | p) at each step but the last, and there
    the probability of the 8-bit value (Ho et al. 2020; algorithms.md A11).

    It draws one noise per step and image.  The decoder is N(D, deviation^2), with that of DEVIATIONS which gives all
    images together the shortest code; telling which it is costs log2(64) bits, which are counted.  (DDPM's deviation is
    that of the posterior one step before, which goes to 0 with the length of this step, whatever the error of D.)
    Raises UsageError for other tables.
    """
    steps = _steps(den, table)
    one, one_cond = jax.tree.map(lambda a: np.asarray(a)[:1], (images, cond))
    expected = predict_shape(den, one, table.t[0], None, one_cond)
    check_variance_known(bool(table.spread.any()), bool((table.stretch != 1).any()), expected)
    found = []
    for first in range(0, len(images), batch):
        at = np.minimum(np.arange(first, first + batch), len(images) - 1)
        x0, part_cond = jax.tree.map(lambda a, at=at: np.asarray(a)[at], (images, cond))
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(at)
        terms = [_prior(den, np.float32(table.t[0]), x0)]
        terms += [_step(den, step, x0, keys, part_cond) for step in steps[:-1]]
        decoders = _decoders(den, steps[-1], x0, keys, part_cond, np.float32(DEVIATIONS))
        part = np.concatenate([np.stack([fetched(term) for term in terms], 1), fetched(decoders)], 1)
        found.append(part[: len(images) - first])
    prior, terms, decoders = np.split(np.concatenate(found) / np.log(2), [1, len(steps)], axis=1)
    decoder = decoders[:, decoders.mean(0).argmin()] + np.log2(len(DEVIATIONS)) / images.size
    return Bound(prior[:, 0], terms, decoder)


def is_bound(den: Any, table: Tableau) -> bool:
    """Whether `vlb` supports a table."""
    try:
        _steps(den, table)
    except ValueError:
        return False
    return True


class _Step(NamedTuple):
    """A step of the chain: row `i` of the table, at t; the posterior has the variance `inner`, and its mean changes by
    `moved` per unit of x0.  All are scalars."""

    i: Any
    t: Any
    moved: Any
    inner: Any
    noise: Any
    spread: Any
    cap: Any
    stretch: Any


def _steps(den, table):
    process = den.process
    if not den.consistent:
        raise UsageError("bpd requires predictions with alpha x0 + sigma eps = x: remove the lever that breaks this")
    times = [*table.t, 0.0]
    if table.past.any() or table.x.any() or np.isfinite(table.s).any() or table.nfe < 2:
        raise UsageError("bpd requires a chain of two or more DDPM steps")
    found = []
    process.check_gaussian("bpd")
    for i, (t, s) in enumerate(pairwise(times)):
        kept, _ = process.split_noise(t, s, 1.0)
        if not np.allclose((table.x0[i], table.eps[i]), (process.alpha(s), kept), rtol=1e-9):
            raise UsageError("bpd requires a chain of DDPM steps (ddpm, analytic_ddpm) on a grid that ends at 0")
        extra = (getattr(table, name)[i] for name in ("noise", "spread", "cap", "stretch"))
        found.append(_Step(i, t, *posterior(process, t, s), *extra))
    return [_Step(np.int32(step.i), *map(np.float32, step[1:])) for step in found]


def _at(den, step, x0, keys, cond):
    eps = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, step.i), x0.shape[1:], x0.dtype))(keys)
    x = den.process.alpha(step.t) * x0 + den.process.sigma(step.t) * eps
    return den(x, step.t, None, with_keys(cond, keys, step.i))


@jax.jit
def _step(den, step, x0, keys, cond):
    """Nats per dimension of the KL of a step."""
    pred = _at(den, step, x0, keys, cond)
    var = step.noise**2
    if pred.range is not None:
        var = var * step.stretch ** (2 * pred.range)
    if pred.var is not None:
        var = var + jnp.minimum(step.spread**2 * pred.var, step.cap)
    return _mean(divergence(step.moved, step.inner, var, (x0 - pred.x0) ** 2))


@jax.jit
def _decoders(den, step, x0, keys, cond, deviations):
    """Nats per dimension of the level, under N(D, deviation^2) for each of the deviations: (B, len(deviations))."""
    mean = _at(den, step, x0, keys, cond).x0
    return jax.lax.map(lambda deviation: _mean(levels.cost(x0, mean, deviation)), deviations).T


@jax.jit
def _prior(den, t, x0):
    """Nats per dimension of KL(q(x_t | x0) | N(0, sigma_t^2))."""
    return _mean(0.5 * (den.process.alpha(t) * x0 / den.process.sigma(t)) ** 2)


def _mean(a):
    return a.reshape(len(a), -1).mean(1)


def log_likelihood(
    den: Any,
    x: np.ndarray,
    seed: int = 0,
    cond: Cond = Cond(),
    t_min: float | None = None,
    tolerance: float = 1e-5,
    batch: int = 64,
) -> np.ndarray:
    """log p(x) in nats of states x (B, ...), by the probability-flow ODE (algorithms.md A12); NaN if the solver fails.

    log N(x_1; 0, sigma_1^2) + int div u dt from t_min to 1, u = alpha' D + sigma' eps; t_min is by default the last
    time of the process, and at least 1e-5.  The divergence is Hutchinson's estimate eta . du/dx eta with one Rademacher
    eta per image, constant in time so that the integrand is smooth.  All states of a batch share the solver's steps.

    Raises UsageError for a process whose noise is not Gaussian.
    """
    den.process.check_gaussian("bpd")
    found, t_min = [], max(den.process.ends[1], 1e-5) if t_min is None else t_min
    for first in range(0, len(x), batch):
        at = np.minimum(np.arange(first, first + batch), len(x) - 1)
        part, part_cond = jax.tree.map(lambda a, at=at: np.asarray(a)[at], (x, cond))
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(at)
        found.append(fetched(_flow(den, part, keys, part_cond, t_min, tolerance))[: len(x) - first])
    return np.concatenate(found).astype(np.float64)


@jax.jit
def _flow(den, x, keys, cond, t_min, tolerance):
    import diffrax  # imported late: it takes a second

    process, end = den.process, jnp.asarray(den.process.ends[0], x.dtype)
    eta = jax.vmap(lambda key: jax.random.rademacher(key, x.shape[1:], x.dtype))(keys)

    def slope(t, state, _):
        def velocity(x):
            pred = den(x, t, None, cond)
            return process.dalpha(over(t, x)) * pred.x0 + process.dsigma(over(t, x)) * pred.eps

        u, along = jax.jvp(velocity, (state[0],), (eta,))
        return u, (eta * along).reshape(len(x), -1).sum(1)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope), diffrax.Dopri5(), t_min, end, None, (x, jnp.zeros(len(x), x.dtype)),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance), throw=False,
    )  # fmt: skip
    ys: Any = solution.ys
    (last,), (grown,) = ys
    sigma = process.sigma(end)
    squares = (last**2).reshape(len(x), -1)
    prior = -0.5 * (squares / sigma**2 + jnp.log(2 * jnp.pi * sigma**2)).sum(1)
    return jnp.where(solution.result == diffrax.RESULTS.successful, prior + grown, jnp.nan)


def bits(
    den: Any, images: np.ndarray, seed: int = 0, cond: Cond = Cond(), draws: int = 1, **options: Any
) -> np.ndarray:
    """Bits per dimension of uint8 images (N, ...) with uniform dequantization: -log2 p + 7 for data in [-1, 1].

    The mean over `draws` of the dequantization noise and of the Hutchinson probe; options are those of
    `log_likelihood`.
    """
    rng, found = np.random.default_rng(seed), []
    for i in range(draws):
        x = (2 * (images + rng.random(images.shape)) / levels.LEVELS - 1).astype(np.float32)
        found.append(log_likelihood(den, x, seed + i, cond, **options))
    return 7 - np.mean(found, axis=0) / (np.log(2) * np.prod(images.shape[1:]))
