"""Samplers that are wrong on purpose fail the checks that the contract makes."""

import numpy as np
import pytest
from checks import MEAN, STD, check_coefficients, check_marginal, check_moments, check_order, gaussian_draw

from fewstep.diffusion import VE, VP, Linear
from fewstep.samplers import GRIDS, SAMPLERS, Row, ddim, ddpm, dpmpp_2m, exact, heun, tabulate, uniform
from fewstep.samplers.steps import steps

each = pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=["linear", "vp", "ve"])


def heun_at_one_point(process, grid):
    """Both slopes from the start of the step."""
    before = None
    for row in heun(process, grid):
        yield row if row.past == () else row._replace(t=before)
        before = row.t


def dpmpp_2m_wrong_sign(process, grid):
    """The correction subtracted."""
    for row in dpmpp_2m(process, grid):
        lean = -sum(row.past)
        yield row._replace(x0=row.x0 - 2 * lean, past=(lean,))


def ddim_off_by_one(process, grid):
    """Steps to where it already is first, and so never takes the last step."""
    pairs = steps(grid)
    for (t, _), (_, s) in zip(pairs, [(pairs[0][0], pairs[0][0]), *pairs[:-1]], strict=True):
        yield Row(t, x0=process.alpha(s), eps=process.sigma(s))


def ddpm_too_loud(process, grid):
    """Fresh noise added while the predicted noise is left whole."""
    for row, plain in zip(ddpm(process, grid), ddim(process, grid), strict=True):
        yield row._replace(eps=plain.eps)


@each
def test_heun_at_one_point_is_of_first_order(process):
    with pytest.raises(AssertionError, match=r"order (0\.|1\.)"):
        check_order(heun_at_one_point, process, 2)
    check_order(heun_at_one_point, process, 1)


@each
def test_dpmpp_2m_with_the_wrong_sign_is_of_first_order(process):
    with pytest.raises(AssertionError, match=r"order (0\.|1\.)"):
        check_order(dpmpp_2m_wrong_sign, process, 2)


@each
def test_wrong_claims_of_order_are_caught(process):
    for name, claim in (("euler", 2), ("dpmpp_2m", 1), ("dpmpp_2m", 3), ("heun", 3)):
        with pytest.raises(AssertionError, match="order"):
            check_order(SAMPLERS[name], process, claim)


@each
def test_ddim_off_by_one_breaks_the_coefficients(process):
    grid = uniform(process, 10)
    check_coefficients(tabulate(ddim(process, grid)), process, grid[-1], noise=True)
    with pytest.raises(AssertionError, match="row 0"):
        check_coefficients(tabulate(ddim_off_by_one(process, grid)), process, grid[-1], noise=True)


@each
def test_ddim_off_by_one_breaks_the_moments(process):
    grid = uniform(process, 10)
    right, wrong = tabulate(ddim(process, grid)), tabulate(ddim_off_by_one(process, grid))
    want = exact.moments(right, process, MEAN, STD**2)
    check_moments(gaussian_draw(right, process), want)
    with pytest.raises(AssertionError, match=r"mean|variance"):
        check_moments(gaussian_draw(wrong, process), want)


@each
def test_one_step_at_the_wrong_noise_breaks_the_coefficients(process):
    grid = uniform(process, 10)
    rows = list(ddim(process, grid))
    rows[4] = rows[4]._replace(eps=1.001 * rows[4].eps, x0=1.001 * (rows[4].x0 + 1e-6))
    with pytest.raises(AssertionError, match="row 4"):
        check_coefficients(tabulate(rows), process, grid[-1])


@each
def test_noise_on_top_of_all_the_noise_misses_the_marginal(process):
    grid = GRIDS[process.grid or "uniform"](process, 2000)
    check_marginal(tabulate(ddpm(process, grid)), process, grid[-1])
    with pytest.raises(AssertionError):
        check_marginal(tabulate(ddpm_too_loud(process, grid)), process, grid[-1])


def test_moments_see_a_wrong_variance_of_eight_percent():
    samples = np.random.default_rng(0).standard_normal(2**14)
    check_moments(samples, exact.Moments(np.zeros(1), np.ones(1)))
    with pytest.raises(AssertionError, match="variance"):
        check_moments(samples, exact.Moments(np.zeros(1), np.full(1, 1.08)))
