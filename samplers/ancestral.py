"""Ancestral sampling: DDPM (Ho et al. 2020, arXiv:2006.11239), and k-diffusion's deterministic steps with added noise.

The latter step down to less noise than sigma_s and add the rest: in sigma/alpha, up^2 = eta^2 s^2 (1 - s^2 / t^2) and
down^2 = s^2 - up^2.  Times alpha_s, up and down are the fresh and the kept noise of ddim(eta).
"""

from collections.abc import Iterator

import numpy as np

from fewstep.diffusion.posterior import large, posterior
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import checked
from fewstep.samplers.brownian import Noise
from fewstep.samplers.ddim import Eta, ddim
from fewstep.samplers.runge_kutta import NOISE, level
from fewstep.samplers.stages import transfer
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row


@checked
def ddpm(process: Process, grid: np.ndarray, variance: str = "small", noise: Noise = "fresh") -> Iterator[Row]:
    """The posterior mean, with noise of one of the two variances of DDPM section 3.2, or of a learned one between them
    ("range": Nichol & Dhariwal 2021, arXiv:2102.09672 eq. 15).

    "small" is the posterior variance, exact for data of a single point (equal to ddim with eta = 1).  "large" is exact
    for N(0, I) data: small + c^2 sigma_t^2 / (alpha_t^2 + sigma_t^2) with c = alpha_s (1 - e^-2h), which on a
    variance-preserving process is the paper's beta_t (on other processes the paper's -sigma_t^2 expm1(-2h) would not be
    exact for any data).  The last step uses the small one, as published.
    """
    if variance not in ("small", "large", "range"):
        raise UsageError(f"ddpm.variance is 'small', 'large' or 'range', not {variance!r}")
    last = len(grid) - 2
    for i, ((t, s), row) in enumerate(zip(steps(grid), ddim(process, grid, 1.0, noise), strict=True)):
        if variance == "small" or i == last:
            yield row
            continue
        wide = np.sqrt(large(process, t, *posterior(process, t, s)))
        yield row._replace(noise=wide) if variance == "large" else row._replace(stretch=wide / row.noise)


@checked
def euler_ancestral(process: Process, grid: np.ndarray, eta: Eta = 1.0, noise: Noise = "fresh") -> Iterator[Row]:
    """Euler's method in sigma/alpha down, then noise: k-diffusion's name for ddim(eta)."""
    return ddim(process, grid, eta, noise)


def dpm2(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """k-diffusion's "DPM2", without noise: x / alpha moves along the eps at the midpoint in log sigma/alpha.

    Two calls per step, one on steps from alpha = 0, to sigma = 0 and to t = 0.
    """
    return dpm2_ancestral(process, grid, eta=0.0)


@checked
def dpm2_ancestral(process: Process, grid: np.ndarray, eta: Eta = 1.0, noise: Noise = "fresh") -> Iterator[Row]:
    """The step of `dpm2` down, then noise."""
    for row, t, m in _halfway(process, grid, eta, noise):
        if m is not None:
            yield transfer(process, t, m, NOISE)
            back = row.x0 * (level(process, t) - level(process, m))  # undoes the step to m along the first eps
            row = row._replace(t=m, eps=row.eps - back, past=(back,))
        yield row


@checked
def dpmpp_2s_ancestral(process: Process, grid: np.ndarray, eta: Eta = 1.0, noise: Noise = "fresh") -> Iterator[Row]:
    """A step of DPM-Solver++(2S), r = 1/2, down (arXiv:2211.01095), then noise; calls as in `dpm2`."""
    for row, t, m in _halfway(process, grid, eta, noise):
        if m is not None:
            yield transfer(process, t, m, (1.0, 0.0))
            h = process.lam(m) - process.lam(t)
            back = row.eps * process.alpha(m) / process.sigma(m) * np.expm1(-h)
            row = row._replace(t=m, x0=row.x0 - back, past=(back,))
        yield row


def _halfway(process: Process, grid: np.ndarray, eta: float, noise: Noise) -> Iterator[tuple[Row, float, float | None]]:
    """(ddim's row, t, m) of each step, with m the midpoint in log sigma/alpha; None for steps of one call."""
    for (t, s), row in zip(steps(grid), ddim(process, grid, eta, noise), strict=True):
        m = None
        if process.alpha(t) > 0 and s > 0 and row.eps > 0:
            m = float(process.time(0.5 * (process.lam(t) + np.log(row.x0 / row.eps))))
        yield row, t, m
