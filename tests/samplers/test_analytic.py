"""Analytic-DPM: exact on Gaussian data, where DDPM and DDIM are not; its bounds."""

import numpy as np
import pytest
from checks import PROCESSES, assert_same

from fewstep.diffusion import VE, VP, Linear, oracles
from fewstep.samplers import (
    SAMPLERS,
    analytic_ddim,
    analytic_ddpm,
    ddim,
    ddpm,
    draw,
    exact,
    optimal_variance,
    tabulate,
    uniform,
)
from fewstep.samplers.ancestral import euler_ancestral
from fewstep.samplers.exact import Moments
from fewstep.samplers.sa_solver import sa_solver
from fewstep.samplers.sde import sde_dpmpp_1
from fewstep.samplers.tableau import Row

MEAN, VAR = 0.2, np.array([0.01, 0.25, 1.0, 4.0])


def law(process, t):
    """Of x_t."""
    return process.alpha(t) * MEAN, process.alpha(t) ** 2 * VAR + process.sigma(t) ** 2


def reached(rows, process, grid):
    """What rows make of the exact law at the first time, and the exact law at the last."""
    start = Moments(*(np.broadcast_to(a, VAR.shape) for a in law(process, grid[0])))
    got, (mean, var) = exact.moments(tabulate(rows), process, np.full(4, MEAN), VAR, start), law(process, grid[-1])
    return got, mean, var


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("steps", [1, 2, 5, 50])
@pytest.mark.parametrize("sampler", [analytic_ddpm, analytic_ddim], ids=["ddpm", "ddim"])
def test_every_marginal_of_gaussian_data_is_exact(process, steps, sampler):
    grid = uniform(process, steps, end=0.02)
    got, mean, var = reached(sampler(process, grid), process, grid)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(got.var, var, rtol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_for_any_noise_that_is_kept(eta):
    grid = uniform(VP(), 4, end=0.02)
    got, _, var = reached(analytic_ddim(VP(), grid, eta=eta), VP(), grid)
    np.testing.assert_allclose(got.var, var, rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_ddpm_and_ddim_lack_variance(steps):
    """Small is exact for a point, large for N(0, I); in between the one has too little and the other too much."""
    grid = uniform(Linear(), steps, end=0.02)
    small, large, still = (
        reached(rows, Linear(), grid)[0].var / law(Linear(), 0.02)[1]
        for rows in (ddpm(Linear(), grid), ddpm(Linear(), grid, "large"), ddim(Linear(), grid))
    )
    assert (small[:3] < 1 - 1e-3 / steps).all()
    assert (still[1:] < 1 - 1e-4 / steps).all()
    assert (large[:2] >= small[:2]).all()


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
@pytest.mark.parametrize("sampler", [analytic_ddpm, analytic_ddim], ids=["ddpm", "ddim"])
def test_drawn_samples_have_the_exact_law(sampler, steps):
    grid = uniform(Linear(), steps, end=0.02)
    table = tabulate(sampler(Linear(), grid))
    den = oracles.gaussian(Linear(), MEAN, np.sqrt(VAR))
    x = np.asarray(draw(den, table, range(2**14), (4,)), np.float64)
    mean, var = law(Linear(), 0.02)
    assert (abs(x.mean(0) - mean) < 4 * np.sqrt(var / 2**14)).all()
    assert (abs(x.var(0) / var - 1) < 4 * np.sqrt(2 / 2**14)).all()


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "dpmpp_3m_sde", "sa_solver", "euler_maruyama", "interpolant_sde"])
def test_it_is_refused_where_it_is_not_optimal(name):
    """With it these would be further from the law of Gaussian data than without."""
    grid = uniform(Linear(), 10, end=0.02)
    rows = list(SAMPLERS[name](Linear(), grid))
    with pytest.raises(ValueError, match="the optimal variance is defined for steps that"):
        optimal_variance(rows, Linear())
    ratio = [Linear().alpha(row.t) / Linear().sigma(row.t) for row in rows]
    opened = [
        row._replace(spread=abs(row.x0 + sum(row.past) - row.eps * r)) for row, r in zip(rows, ratio, strict=True)
    ]
    plain, wider = (exact.frechet(*reached(made, Linear(), grid)) for made in (rows, opened))
    assert wider > 1.3 * plain


@pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=["linear", "vp", "ve"])
def test_other_steps_of_first_order_are_exact_with_it(process):
    grid = uniform(process, 5, end=0.02)
    for rows in (
        sde_dpmpp_1(process, grid, eta=0.3),
        euler_ancestral(process, grid),
        sa_solver(process, grid, predictor=1, corrector=0, tau=0.7),
    ):
        got, _, var = reached(optimal_variance(rows, process), process, grid)
        np.testing.assert_allclose(got.var, var, rtol=1e-9)


def test_the_last_step_to_the_data_is_clean():
    for rows in (analytic_ddpm, analytic_ddim):
        (*_, last) = rows(Linear(), uniform(Linear(), 5))
        assert (last.x0, last.eps, last.noise, last.spread) == (1, 0, 0, 0)


def test_grey_levels_bound_the_last_noisy_step():
    process, grid = VP(), np.append(uniform(VP(), 5, end=0.01), 0.0)
    bound = (2 * 2 / 255) ** 2 * np.pi / 2
    for eta in (0.0, 1.0):
        *_, before, last_noisy, clean = analytic_ddim(process, grid, eta=eta, grey=2)
        assert before.cap == np.inf
        assert clean.spread == 0
        assert last_noisy.noise**2 + last_noisy.cap == pytest.approx(bound)
    draws = np.abs(np.random.default_rng(0).normal(0, np.sqrt(bound), 10**6))
    assert draws.mean() * 255 / 2 == pytest.approx(2, rel=0.01)
    for times in (grid, grid[:-1]):
        with pytest.raises(ValueError, match="grey"):
            analytic_ddpm(process, times, grey=-1)


def test_without_a_clean_last_step_nothing_is_bounded():
    grid = uniform(VE(), 3, end=0.1)
    assert_same(analytic_ddpm(VE(), grid, grey=1), analytic_ddpm(VE(), grid), VE())


def test_one_clean_row_is_left_alone():
    assert optimal_variance([Row(1.0, x0=1.0)], Linear(), grey=1) == [Row(1.0, x0=1.0)]
