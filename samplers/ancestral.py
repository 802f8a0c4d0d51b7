"""DDPM ancestral sampling (Ho et al. 2020, arXiv:2006.11239)."""

import numpy as np

from samplers.ddim import ddim
from samplers.steps import steps


def ddpm(process, grid, variance="small"):
    """The posterior mean, with noise of one of the two variances of DDPM section 3.2.

    "small" is the posterior variance, exact for a single point of data (it is ddim with eta = 1); "large" is exact for
    N(0, I) data: small + c^2 sigma_t^2 / (alpha_t^2 + sigma_t^2) with c = alpha_s (1 - e^-2h), which on a
    variance-preserving process is the paper's beta_t (elsewhere the paper's -sigma_t^2 expm1(-2h) would be exact for
    no data at all).  The last step has the small one, as published.
    """
    if variance not in ("small", "large"):
        raise ValueError(f"ddpm.variance is 'small' or 'large', not {variance!r}")
    last = len(grid) - 2
    for i, ((t, s), row) in enumerate(zip(steps(grid), ddim(process, grid, eta=1.0), strict=True)):
        if variance == "small" or i == last:
            yield row
        else:
            alpha, sigma = process.alpha(t), process.sigma(t)
            moved = process.alpha(s) * -np.expm1(-2 * (process.lam(s) - process.lam(t)))
            yield row._replace(noise=np.hypot(row.noise, moved * sigma / np.hypot(alpha, sigma)))
