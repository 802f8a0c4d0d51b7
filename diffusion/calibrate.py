"""The mean posterior variance of x0 given x_t, measured on data (Bao et al. 2022, arXiv:2201.06503).

Two estimates of m = E[tr Cov(x0 | x_t)] / d, equal for a perfect network (algorithms.md C3):

    residual     E|x0 - D|^2 / d: positive, and correct for an imperfect network too
    score_norm   (sigma / alpha)^2 (1 - E|eps_hat|^2 / d): the paper's; near t = 1 a difference of close numbers

For 8-bit images also the code length of their levels given D, which determines the best last time of a chain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from fewstep.diffusion import levels
from fewstep.diffusion.arrays import AnyArray, Number, namespace, over
from fewstep.diffusion.at_levels import at_levels
from fewstep.diffusion.denoiser import Cond, DenoiserLike, Pred, Wrapper
from fewstep.errors import UsageError

MIN_VARIANCE = 1e-12  # lower bound, because the logarithm of the variance is interpolated
ESTIMATES = ("residual", "score_norm")
DEVIATIONS = np.geomspace(1e-3, 1, 64)  # standard deviations at which the code length of 8-bit images is measured


class Statistics(NamedTuple):
    """Estimates at K increasing half log-SNRs, with their standard errors over the images; (K,) each."""

    lam: np.ndarray
    residual: np.ndarray
    residual_error: np.ndarray
    score_norm: np.ndarray
    score_norm_error: np.ndarray
    decoder: np.ndarray  # (K, 64) code length of 8-bit levels under N(D, DEVIATIONS^2), nats per element; else (K, 0)


def measure(
    den: DenoiserLike,
    x0: AnyArray,
    lam: AnyArray,
    seed: int = 0,
    cond: Cond = Cond(),
    batch: int = 64,
    show: Callable[[int], Any] | None = None,
    eight_bit: bool = False,
) -> Statistics:
    """The statistics of a denoiser on clean images x0 (N, ...) with their `cond`, at half log-SNRs `lam` (K,).

    Each image has one noise, the same at all K.  show: called with the number of images done.  eight_bit: the images
    are 8-bit images in [-1, 1], and the code length of their levels is measured too.
    """
    den.process.check_gaussian("the variance of x0 given x_t")
    lam = np.sort(np.asarray(lam, np.float64))
    deviations = np.asarray(DEVIATIONS if eight_bit else [], np.float32)
    found = at_levels(partial(_errors, deviations), den, x0, lam, seed, cond, batch, show)
    residual, squares, *decoder = np.moveaxis(found, 1, 0)  # (K, N) each
    score_norm = np.exp(-2 * lam)[:, None] * (1 - squares)
    return Statistics(
        lam=lam,
        residual=_mean(residual),
        residual_error=_error(residual),
        score_norm=_mean(score_norm),
        score_norm_error=_error(score_norm),
        decoder=np.reshape([_mean(a) for a in decoder], (-1, len(lam))).T,
    )


@jax.jit
def _errors(deviations, den, x0, t, keys, cond):
    """Means over the elements of each image of (x0 - D)^2, eps_hat^2, and the code length of its levels with each of
    the deviations: (2 + len(deviations), N)."""
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


def interpolate(lam: Number, known: AnyArray, var: AnyArray) -> Any:
    """The variance at half log-SNRs `lam`, interpolated in its logarithm from `var` at increasing `known` (K,), and
    constant beyond the ends.  Returns the kind of array of `known`."""
    xp = namespace(known)
    return xp.exp(xp.interp(lam, known, xp.log(xp.maximum(var, MIN_VARIANCE))))


@register_dataclass
@dataclass(frozen=True)
class Calibrated(Wrapper):
    """A denoiser with the measured mean variance: Pred.var is one number per noise level, by `interpolate`."""

    inner: Any
    lam: Any  # (K,) increasing
    var: Any  # (K,)

    variance_alone = True

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        var = interpolate(self.process.lam(t), jnp.asarray(self.lam), jnp.asarray(self.var))
        return self.inner(x, t, s, cond)._replace(var=over(var, x))


def calibrated(
    den: DenoiserLike, statistics: Statistics, estimate: str = "residual", bound: float | None = 1.0
) -> Calibrated:
    """The denoiser with a variance from one of ESTIMATES, at most `bound`: ((b - a) / 2)^2 for data in [a, b].

    Raises UsageError for another name of an estimate.
    """
    if estimate not in ESTIMATES:
        raise UsageError(f"the estimates are {' and '.join(ESTIMATES)}, not {estimate!r}")
    var = np.clip(getattr(statistics, estimate), 0.0, np.inf if bound is None else bound)
    return Calibrated(den, np.asarray(statistics.lam, np.float32), np.asarray(var, np.float32))
