"""Analytic-DPM (Bao et al. 2022, arXiv:2201.06503): the variance of a step that what the network knows makes optimal.

A step with the mean k x + c D and noise of variance nu^2, exact where x0 is known, misses what x0 may be beyond D: with
Var = Var[x0 | x_t] the variance nu^2 + c^2 Var is the best that one normal law can have, and on Gaussian data the chain
has every marginal right for any nu.
"""

from math import pi, sqrt

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.samplers.ddim import ddim


def optimal_variance(rows, process, grey: float | None = None):
    """The rows of a sampler with that variance; c = x0 - eps alpha_t / sigma_t (algorithms.md C3; eq. 8 of the paper).

    A step to sigma = 0 stays what it is, D.  `grey` bounds the noise of the step before that: it moves 8-bit images
    by so many grey levels on average at most (1 or 2 in the paper).

    Raises UsageError for rows that use remembered predictions: their mean knows more than D, and Var would be counted
    twice (on Gaussian data dpmpp_2m_sde and sa_solver then get worse); and for rows that are not exact where x0 is
    known, for which that variance is not the best (euler_maruyama).
    """
    if grey is not None and not grey >= 0:
        raise UsageError(f"grey is a number of grey levels, at least 0, not {grey}")
    rows = list(rows)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        _refuse(row, process, after)
    rows = [row if _clean(row) else _opened(row, process) for row in rows]
    if grey is not None and len(rows) > 1 and _clean(rows[-1]):
        bound = grey * 2 / 255 * sqrt(pi / 2)  # the mean of |z| is sqrt(2 / pi)
        noise = min(rows[-2].noise, bound)
        rows[-2] = rows[-2]._replace(noise=noise, cap=bound**2 - noise**2)
    return rows


def _refuse(row, process, after):
    if any(row.past):
        raise UsageError("the optimal variance is that of steps which remember no predictions")
    if after is None:
        return
    alpha, sigma = process.alpha(row.t), process.sigma(row.t)
    ends = row.x * alpha + row.x0, np.hypot(row.x * sigma + row.eps, row.noise)  # of x0 and of eps, were both known
    if not np.allclose(ends, (process.alpha(after.t), process.sigma(after.t)), rtol=1e-6, atol=1e-9):
        raise UsageError("the optimal variance is that of steps which are exact where x0 is known")


def _clean(row):
    """Whether it is a step to sigma = 0."""
    return row.x == row.eps == row.noise == 0


def _opened(row, process):
    return row._replace(spread=abs(row.x0 - row.eps * process.alpha(row.t) / process.sigma(row.t)))


def analytic_ddpm(process, grid, grey: float | None = None):
    """DDPM with the optimal variance; `grey` as of `optimal_variance`."""
    return optimal_variance(ddim(process, grid, eta=1.0), process, grey)


def analytic_ddim(process, grid, eta=0.0, grey: float | None = None):
    """DDIM with the optimal variance, which with eta = 0 is all the noise there is; `grey` as of `optimal_variance`."""
    return optimal_variance(ddim(process, grid, eta), process, grey)
