"""A grid for data of a known spectrum: the times at which a sampler's output has the smallest exact Frechet distance
from Gaussian data with the mean and variances of the data."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.exact import frechet, moments
from fewstep.samplers.grids import GRIDS
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import tabulate

STARTS = ("uniform", "quadratic", "log_snr", "karras")


def spectral(process: Process, sampler: Callable, steps: int, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """The grid (steps + 1,) with the smallest distance for a sampler, (process, grid) -> rows, on Gaussian data with
    mean and variances (d,), the eigenvalues of a covariance and the mean in its eigenbasis.

    L-BFGS moves the half log-SNRs of the inner times, from the best of the grids STARTS; no network is called.  Raises
    NoTable if the sampler has no table of so many steps.
    """

    def distance(grid: np.ndarray) -> float:
        return frechet(moments(tabulate(sampler(process, grid)), process, mean, var), mean, var)

    begun = []
    for name in STARTS:
        try:
            grid = GRIDS[name](process, steps)
            begun.append((distance(grid), grid))
        except (NoTable, UsageError):
            continue
    if not begun:
        raise NoTable(f"there is no grid of {steps} steps to begin with: {', '.join(STARTS)}")
    before, start = min(begun, key=lambda one: one[0])
    if steps == 1:
        return start
    lam = process.lam(start[1:-1])
    at = np.concatenate([lam[:1], np.log(np.diff(lam))])

    def placed(free: np.ndarray) -> np.ndarray:
        inner = process.time(free[0] + np.concatenate([[0.0], np.cumsum(np.exp(free[1:]))]))
        return np.concatenate([start[:1], inner, start[-1:]])

    def loss(free: np.ndarray) -> float:
        grid = placed(free)
        return distance(grid) / before if (np.diff(grid) < 0).all() else 100.0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000, "maxfun": 100_000}
        found = minimize(loss, at, method="L-BFGS-B", bounds=[(a - 8, a + 8) for a in at], options=options)
        # The finite differences of L-BFGS lose their digits near the optimum.
        options = {"maxfev": 200 * len(at), "xatol": 1e-4, "fatol": 1e-8}
        found = minimize(loss, found.x, method="Nelder-Mead", options=options)
    grid = placed(found.x)
    return grid if (np.diff(grid) < 0).all() and distance(grid) < before else start
