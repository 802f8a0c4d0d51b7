"""EDM's stochastic sampler against algorithm 2 of its paper, and where it reduces to Heun's method."""

import numpy as np
import pytest
from checks import MEAN, STD, assert_same, each

from fewstep.diffusion import VE, VP
from fewstep.samplers import heun, karras, log_snr, tabulate, uniform
from fewstep.samplers.churn import edm
from fewstep.samplers.exact import moments


@pytest.mark.parametrize("grid", [karras(VE(), 9), log_snr(VE(), 5), uniform(VE(), 6, 0.9, 0.1)])
def test_without_churn_it_is_heun_on_ve(grid):
    assert_same(edm(VE(), grid, churn=0.0), heun(VE(), grid), VE())


def test_in_sigma_over_alpha_it_is_another_method_than_heun_in_t():
    one, other = (tabulate(rows) for rows in (edm(VP(), log_snr(VP(), 6), churn=0.0), heun(VP(), log_snr(VP(), 6))))
    assert np.abs(one.x - other.x).max() > 1e-3


@pytest.mark.parametrize(("s_min", "s_max", "s_noise"), [(0.0, None, 1.0), (0.05, 50.0, 1.003)])
@pytest.mark.parametrize("steps", [6, 200])
def test_algorithm_2(steps, s_min, s_max, s_noise):
    """Mean and variance on Gaussian data by its own loop in sigma, with the moments of an affine denoiser."""
    process, grid = VE(), karras(VE(), steps)
    sigma = process.sigma(grid)
    mean, var = 0.0, sigma[0] ** 2
    for i in range(steps):
        inside = s_min <= sigma[i] <= (np.inf if s_max is None else s_max)
        gamma = min(40 / steps, np.sqrt(2) - 1) if inside else 0.0
        hat = min(sigma[i] * (1 + gamma), sigma[0])  # never above the start
        var += (hat**2 - sigma[i] ** 2) * s_noise**2

        def slope(affine, level):  # (x - D) / sigma of an affine map a x0 + b of the state
            shrink = level / (STD**2 + level**2)
            return shrink * affine - np.array([0.0, shrink * MEAN])

        x = np.array([1.0, 0.0])
        d = slope(x, hat)
        new = x + (sigma[i + 1] - hat) * d
        if sigma[i + 1] > 0:
            new = x + (sigma[i + 1] - hat) * (d + slope(new, sigma[i + 1])) / 2
        mean, var = new[0] * mean + new[1], new[0] ** 2 * var
    got = moments(tabulate(edm(process, grid, 40.0, s_min, s_max, s_noise)), process, MEAN, STD**2)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.var, var, rtol=1e-9)


@each
def test_churned_times(process):
    """sigma/alpha times 1 + gamma, never beyond the start; from alpha = 0 there is no churn."""
    grid = uniform(process, 9)
    table = tabulate(edm(process, grid, churn=0.45))
    calls = table.t[~np.isin(table.t, grid)]
    assert table.t[0] == grid[0]
    assert (table.t <= grid[0]).all()
    for t in calls:
        below = grid[grid < t][0]
        assert process.lam(below) - process.lam(t) == pytest.approx(np.log(1.05), rel=1e-9)
    assert len(calls) >= 6


def test_the_noise_is_the_process_own():
    """q(x_t | x_s) of 0.2 in the table of 2 steps: variance sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2."""
    process, grid = VP(), np.array([0.8, 0.5, 0.2])
    table = tabulate(edm(process, grid, churn=0.5, s_noise=1.5))
    up, s = table.t[2], 0.5
    assert process.lam(s) - process.lam(up) == pytest.approx(np.log(1.25))
    added = process.sigma(up) ** 2 - (process.alpha(up) / process.alpha(s)) ** 2 * process.sigma(s) ** 2
    assert table.noise[1] == pytest.approx(1.5 * np.sqrt(added))
    assert table.noise[[0, 2, 3]].tolist() == [0, 0, 0]


def test_a_grid_that_starts_inside_begins_at_its_churned_time():
    table = tabulate(edm(VP(), [0.5, 0.3, 0.1], churn=0.2))
    assert VP().lam(0.5) - VP().lam(table.t[0]) == pytest.approx(np.log(1.1))
    assert np.isnan(table.start)
