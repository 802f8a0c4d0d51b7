"""Empirical model statistics of DPM-Solver-v3 (Zheng et al. 2023, arXiv:2310.13268), one number per noise level.

With z = x / alpha and lam the half log-SNR, the probability-flow ODE is, for any function l of lam,

    dz/dlam = -(l z + f),   f = (sigma / alpha) eps - l z

The solver assumes df/dlam = s f.  The statistics are the l and s for which this is closest:

    l = E[tr(sigma deps/dx)] / d        f depends least on z
    s = E[f df/dlam] / E[f^2]           least squares along the flow

The paper has a number per element, and a bias b of df/dlam, which no table has.  Its code for measuring them is not
published; the formula of df/dlam is derived here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # whose parts load when they are first used

from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.at_levels import at_levels
from fewstep.diffusion.denoiser import Cond, DenoiserLike

NEGLIGIBLE = 1e-6  # E[f^2] relative to its parts; below it f is rounding, and s of no effect


class EMS(NamedTuple):
    """The statistics at K increasing half log-SNRs; (K,) each."""

    lam: np.ndarray
    linear: np.ndarray  # l
    slope: np.ndarray  # s


def measure_ems(
    den: DenoiserLike,
    x0: AnyArray,
    lam: AnyArray,
    seed: int = 0,
    cond: Cond = Cond(),
    batch: int = 64,
    show: Callable[[int], Any] | None = None,
) -> EMS:
    """The statistics of a denoiser on clean images x0 (N, ...) with their `cond`, at half log-SNRs `lam` (K,), K > 2.

    Each image has one noise and one Rademacher vector, the same at all K, so that errors of l are smooth in lam.  Each
    point takes a pass and two forward-mode derivatives.  show: called with the number of images done.
    """
    lam = np.sort(np.asarray(lam, np.float64))
    means = at_levels(_products, den, x0, lam, seed, cond, batch, show).mean(-1)
    return _solved(lam, *means.T)


@jax.jit
def _products(den, x0, t, keys, cond):
    """Means over the elements of each image: of the diagonals of sigma deps/dx and alpha dD/dx, whose sum is 1, and of
    the products in `_solved`, (9, N)."""
    x0 = jnp.asarray(x0, jnp.zeros(()).dtype)
    process, t = den.process, jnp.asarray(t, x0.dtype)
    alpha, sigma = process.alpha(t), process.sigma(t)
    eps = jax.vmap(lambda key: process.noise(key, (1, *x0.shape[1:]))[0].astype(x0.dtype))(keys)
    probe = jax.vmap(lambda key: jax.random.rademacher(jax.random.fold_in(key, 2), x0.shape[1:], x0.dtype))(keys)
    x = alpha * x0 + sigma * eps

    def predicted(x, t):
        pred = den(x, t, None, cond)
        return pred.x0, pred.eps

    (clean, noise), (clean_probe, noise_probe) = jax.jvp(lambda x: predicted(x, t), (x,), (probe,))
    slope = process.dalpha(t) * clean + process.dsigma(t) * noise
    _, (dclean, dnoise) = jax.jvp(predicted, (x, t), (slope / process.dlam(t), 1 / process.dlam(t)))
    a, da = sigma / alpha * noise, sigma / alpha * (dnoise - noise)
    pairs = ((a, a), (a, clean), (clean, clean), (a, da), (a, dclean), (clean, da), (clean, dclean))
    found = [sigma * probe * noise_probe, alpha * probe * clean_probe, *(one * other for one, other in pairs)]
    return jnp.stack([product.reshape(len(x0), -1).mean(1) for product in found])


def _solved(lam, l_seen, m_seen, aa, ad, dd, aa1, ad1, da1, dd1):
    """From the means of products of a = (sigma / alpha) eps, D and, marked by 1, their derivatives along the flow: with
    m = 1 - l, f = m a - l D, nowhere a small difference of large numbers."""
    linear, m = np.where(lam < 0, (1 - m_seen, m_seen), (l_seen, 1 - l_seen))  # the smaller of both is accurate
    bent = scipy.interpolate.CubicSpline(lam, linear)(lam, 1)
    ff = m**2 * aa - 2 * m * linear * ad + linear**2 * dd
    ff1 = m * (m * aa1 - linear * ad1 - bent * (aa + ad)) - linear * (m * da1 - linear * dd1 - bent * (ad + dd))
    return EMS(lam, linear, ff1 / (ff + NEGLIGIBLE * (m**2 * aa + linear**2 * dd)))
