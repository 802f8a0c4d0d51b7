"""Analytic-DPM (Bao et al. 2022, arXiv:2201.06503): the optimal variance of a step, given the posterior variance of x0.

A step with mean k x + c D and noise variance nu^2, exact if x0 is known, neglects the variance of x0 given x_t.  With
Var = Var[x0 | x_t], the variance nu^2 + c^2 Var is optimal for a normal distribution, and on Gaussian data every
marginal of the chain is exact for any nu.
"""

from collections.abc import Iterable
from math import pi, sqrt
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, Share, checked
from fewstep.samplers.brownian import Noise
from fewstep.samplers.ddim import ddim
from fewstep.samplers.tableau import Row

Grey = Annotated[float, Range(0, 255)] | None  # levels of 8-bit images


@checked
def optimal_variance(rows: Iterable[Row], process: Process, grey: Grey = None) -> list[Row]:
    """The rows of a sampler with the optimal variance; c = x0 - eps alpha_t / sigma_t (algorithms.md C3; eq. 8 of the
    paper).

    A step to sigma = 0 is unchanged, D.  `grey` bounds the noise of the step before that: it changes 8-bit images by at
    most this many grey levels on average (1 or 2 in the paper).

    Raises UsageError for rows that use remembered predictions: their mean contains more information than D, and Var
    would be counted twice (on Gaussian data dpmpp_2m_sde and sa_solver then get worse).  Also raises it for rows that
    are not exact for known x0, for which that variance is not optimal (euler_maruyama).
    """
    rows = list(rows)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        _check_row(row, process, after)
    rows = [row if _clean(row) else _with_spread(row, process) for row in rows]
    if grey is not None and len(rows) > 1 and _clean(rows[-1]):
        bound = grey * 2 / 255 * sqrt(pi / 2)  # the mean of |z| is sqrt(2 / pi)
        noise = min(rows[-2].noise, bound)
        rows[-2] = rows[-2]._replace(noise=noise, cap=bound**2 - noise**2)
    return rows


def _check_row(row: Row, process: Process, after: Row | None) -> None:
    if any(row.past):
        raise UsageError("the optimal variance is defined for steps that use no remembered predictions")
    if after is None:
        return
    alpha, sigma = process.alpha(row.t), process.sigma(row.t)
    ends = row.x * alpha + row.x0, np.hypot(row.x * sigma + row.eps, row.noise)  # coefficients of known x0 and eps
    if not np.allclose(ends, (process.alpha(after.t), process.sigma(after.t)), rtol=1e-6, atol=1e-9):
        raise UsageError("the optimal variance is defined for steps that are exact for known x0")


def _clean(row: Row) -> bool:
    """Whether it is a step to sigma = 0."""
    return row.x == row.eps == row.noise == 0


def _with_spread(row: Row, process: Process) -> Row:
    return row._replace(spread=abs(row.x0 - row.eps * process.alpha(row.t) / process.sigma(row.t)))


@checked
def analytic_ddpm(process: Process, grid: np.ndarray, grey: Grey = None, noise: Noise = "fresh") -> list[Row]:
    """DDPM with the optimal variance; `grey` as in `optimal_variance`."""
    return optimal_variance(ddim(process, grid, 1.0, noise), process, grey)


@checked
def analytic_ddim(
    process: Process, grid: np.ndarray, eta: Share = 0.0, grey: Grey = None, noise: Noise = "fresh"
) -> list[Row]:
    """DDIM with the optimal variance, which is the only noise for eta = 0; `grey` as in `optimal_variance`."""
    return optimal_variance(ddim(process, grid, eta, noise), process, grey)
