"""The statistics of DPM-Solver-v3, against exact denoisers and finite differences along the flow."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from fewstep.diffusion import PFGM, VE, VP, Linear, oracles
from fewstep.diffusion.ems import measure_ems
from fewstep.samplers import exact, tabulate
from fewstep.samplers.dpm_solver_v3 import dpm_solver_v3

LAM = np.linspace(-3, 3, 25)
RNG = np.random.default_rng(0)
MIXTURE = (-0.6, 0.7), (0.2, 0.3), (0.5, 0.5)


@pytest.mark.parametrize("process", [Linear(), VP(), VE(sigma_max=30.0)], ids=str)
def test_l_of_gaussian_data_and_one_exact_step(process):
    """l = sigma^2 / (alpha^2 std^2 + sigma^2), with which f is a constant multiple of the mean: here 0."""
    std, lam = 0.5, np.linspace(-3, 3, 121)
    images = np.float32(std * RNG.standard_normal((64, 16)))
    found = measure_ems(oracles.gaussian(process, 0.0, std), images, lam)
    np.testing.assert_allclose(found.linear, 1 / (1 + std**2 * np.exp(2 * lam)), atol=2e-6)
    grid = process.time(np.array([-2.9, 2.9]))
    known = found._replace(slope=0 * lam)
    got = exact.follow(
        tabulate(dpm_solver_v3(process, grid, known=known)), oracles.gaussian(process, 0.0, std), np.ones((1, 1))
    )
    v0, v1 = (process.alpha(t) ** 2 * std**2 + process.sigma(t) ** 2 for t in grid)
    np.testing.assert_allclose(got, np.sqrt(v1 / v0), rtol=1e-5)


def test_statistics_of_a_mixture():
    """l is that of the exact posterior variance, and s that of finite differences of f along the flow."""
    process, n = VP(), 20_000
    den = oracles.mixture(process, *MIXTURE)
    k = RNG.integers(2, size=(n, 1))
    x0 = np.array(MIXTURE[0])[k] + np.array(MIXTURE[1])[k] * RNG.standard_normal((n, 1))
    eps, step = RNG.standard_normal((n, 1)), 1e-4
    found = measure_ems(den, np.float32(x0), LAM, batch=n)
    linear = CubicSpline(LAM, found.linear)

    def f(z, lam):
        t = float(process.time(lam))
        a = process.sigma(t) / process.alpha(t) * den(process.alpha(t) * z, t).eps
        return a - linear(lam) * z, a

    for lam, linear_seen, slope_seen in zip(*found, strict=True):
        t = float(process.time(lam))
        z = x0 + process.sigma(t) / process.alpha(t) * eps
        snr = (process.alpha(t) / process.sigma(t)) ** 2
        assert linear_seen == pytest.approx(1 - snr * den(process.alpha(t) * z, t).var.mean(), abs=0.01)
        here, a = f(z, lam)
        slope = (f(z - step * a, lam + step)[0] - f(z + step * a, lam - step)[0]) / (2 * step)
        assert slope_seen == pytest.approx((here * slope).mean() / (here**2).mean(), abs=0.03)


@pytest.mark.slow
def test_statistics_do_not_depend_on_the_batch_and_know_the_noise_of_a_process():
    images = np.float32(RNG.standard_normal((10, 4)))
    data = images[:4]
    one, other = (measure_ems(oracles.dataset(VE(), data), images, LAM, batch=batch) for batch in (3, 10))
    for got, want in zip(one, other, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
    heavy = measure_ems(oracles.dataset(PFGM(VE(), 2), data), images, LAM)
    assert np.isfinite(heavy).all()
    assert np.abs(heavy.linear - one.linear).max() > 0.05
