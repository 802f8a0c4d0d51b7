"""What a trained network leaves open: the variance of x0 given x_t, measured on data (Bao et al. 2022,
arXiv:2201.06503).

Two estimates of m = E[tr Cov(x0 | x_t)] / d, for a perfect network the same (algorithms.md C3):

    residual     E|x0 - D|^2 / d: positive, and the right one for an imperfect network too
    score_norm   (sigma / alpha)^2 (1 - E|eps_hat|^2 / d): the paper's; near t = 1 the difference of close numbers

Of 8-bit images also what it costs to tell them from D, which says where a chain is best ended.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from fewstep.diffusion import levels
from fewstep.diffusion.arrays import namespace, over
from fewstep.diffusion.denoiser import Cond, Wrapper
from fewstep.diffusion.errors import UsageError

LEAST = 1e-12  # of a variance, of which the logarithm is interpolated
ESTIMATES = ("residual", "score_norm")
DEVIATIONS = np.geomspace(1e-4, 3, 48)  # with which levels are told


class Statistics(NamedTuple):
    """Estimates at K half log-SNRs, rising, with their standard errors over the images; (K,) each."""

    lam: np.ndarray
    residual: np.ndarray
    residual_error: np.ndarray
    score_norm: np.ndarray
    score_norm_error: np.ndarray
    decoder: np.ndarray  # (K, 48) nats per element of telling 8-bit levels by N(D, DEVIATIONS^2); (K, 0): no such data


def measure(den, x0, lam, seed=0, cond=Cond(), batch=64, show=None, eight_bit=False) -> Statistics:
    """The statistics of a denoiser on clean images x0 (N, ...) with their `cond`, at half log-SNRs `lam` (K,).

    Every image has one noise, the same at all K.  show: called with the number of images done.  eight_bit: they are
    images of 8 bits in [-1, 1], and what telling their levels costs is measured too.
    """
    lam = np.sort(np.asarray(lam, np.float64))
    process, found = den.process, []
    deviations = np.float32(DEVIATIONS if eight_bit else [])
    times = np.asarray(process.time(lam), np.float64)
    for first in range(0, len(x0), batch):
        at = np.minimum(np.arange(first, first + batch), len(x0) - 1)
        part, told = jax.tree.map(lambda a, at=at: np.asarray(a)[at], (x0, cond))
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(at)
        points = [np.asarray(_errors(den, part, np.float32(t), keys, told, deviations)) for t in times]
        found.append(np.stack(points)[..., : len(x0) - first])
        if show is not None:
            show(min(first + batch, len(x0)))
    residual, squares, *decoder = np.moveaxis(np.concatenate(found, -1).astype(np.float64), 1, 0)  # (K, N) each
    score_norm = np.exp(-2 * lam)[:, None] * (1 - squares)
    values = [f(a) for a in (residual, score_norm) for f in (_mean, _error)]
    return Statistics(lam, *values, np.reshape([_mean(a) for a in decoder], (-1, len(lam))).T)


@jax.jit
def _errors(den, x0, t, keys, cond, deviations):
    """Of every image, the means over its elements of (x0 - D)^2, eps_hat^2, and the cost of its levels with each of the
    deviations: (2 + their number, N)."""
    x0 = jnp.asarray(x0, jnp.zeros(()).dtype)
    eps = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:], x0.dtype))(keys)
    pred = den(den.process.alpha(t) * x0 + den.process.sigma(t) * eps, t, None, cond)

    def mean(a):
        return a.reshape(len(a), -1).mean(1)

    costs = jax.lax.map(lambda deviation: mean(levels.cost(levels.nearest(x0), pred.x0, deviation)), deviations)
    return jnp.concatenate([jnp.stack([mean((x0 - pred.x0) ** 2), mean(pred.eps**2)]), costs])


def _mean(a):
    return a.mean(1)


def _error(a):
    return a.std(1, ddof=1) / np.sqrt(a.shape[1])


def between(lam, known, var):
    """The variance at half log-SNRs `lam` from those at `known` (K,), rising: its logarithm interpolated, beyond the
    ends that of the last.  Answers in kind."""
    xp = namespace(known)
    return xp.exp(xp.interp(lam, known, xp.log(xp.maximum(var, LEAST))))


@register_dataclass
@dataclass(frozen=True)
class Calibrated(Wrapper):
    """A denoiser that knows how much it leaves open on average: Pred.var is one number a noise level, `between` those
    measured."""

    inner: Any
    lam: Any  # (K,) rising
    var: Any  # (K,)

    variance_alone = True

    def __call__(self, x, t, s=None, cond=Cond()):
        var = between(self.process.lam(t), jnp.asarray(self.lam), jnp.asarray(self.var))
        return self.inner(x, t, s, cond)._replace(var=over(var, x))


def calibrated(den, statistics: Statistics, estimate="residual", bound: float | None = 1.0) -> Calibrated:
    """The denoiser with a variance from one of ESTIMATES, at most `bound`: data in [a, b] have ((b - a) / 2)^2."""
    if estimate not in ESTIMATES:
        raise UsageError(f"the estimates are {' and '.join(ESTIMATES)}, not {estimate!r}")
    var = np.clip(getattr(statistics, estimate), 0.0, np.inf if bound is None else bound)
    return Calibrated(den, np.asarray(statistics.lam, np.float32), np.asarray(var, np.float32))
