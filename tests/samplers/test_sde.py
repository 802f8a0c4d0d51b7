"""DPM-Solver++ for the reverse SDE: identities, the published updates in their letters, golden values."""

from itertools import pairwise

import numpy as np
import pytest
from checks import PROCESSES, assert_same, check_marginal, inside
from golden import GRID, after, digits, row_of

from fewstep.diffusion import VE, VP
from fewstep.samplers import Row, ddim, ddpm, dpmpp_2m, karras, log_snr, reduced, tabulate, uniform
from fewstep.samplers.ancestral import euler_ancestral
from fewstep.samplers.exact import Moments, moments, order
from fewstep.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, sde_dpmpp_1


@inside
def test_first_order_methods_are_ddpm(process, grid):
    for rows in (
        ddim(process, grid, eta=1.0),
        sde_dpmpp_1(process, grid),
        euler_ancestral(process, grid),
        _vdm(process, grid),
    ):
        assert_same(rows, ddpm(process, grid), process)
    assert_same(sde_dpmpp_1(process, grid, eta=0.0), ddim(process, grid), process)


def _vdm(process, grid):
    """Kingma et al. 2021, arXiv:2107.00630."""
    for t, s in pairwise(grid):
        h, ratio = process.lam(s) - process.lam(t), process.alpha(s) / process.alpha(t)
        noise = process.sigma(s) * np.sqrt(-np.expm1(-2 * h))
        yield Row(t, x=ratio, eps=ratio * process.sigma(t) * np.expm1(-2 * h), noise=noise)


@inside
@pytest.mark.parametrize("lower_final", [None, False])
def test_2m_sde_without_noise_is_2m(process, grid, lower_final):
    for g in (grid, log_snr(process, 9)):
        rows = dpmpp_2m_sde(process, g, eta=0.0, lower_final=lower_final)
        assert_same(rows, dpmpp_2m(process, g, lower_final), process)


@inside
def test_two_points_integrated_exactly_are_the_same_in_both(process, grid):
    """3M has two points on its second step, and 2M "heun" integrates these."""
    two, three = (
        reduced(tabulate(rows(process, grid, lower_final=False, **o)), process)
        for rows, o in ((dpmpp_2m_sde, {"solver": "heun"}), (dpmpp_3m_sde, {}))
    )
    np.testing.assert_allclose(two.x0[:2], three.x0[:2], rtol=1e-13, atol=1e-14)
    assert np.abs(two.x0[2] - three.x0[2]).max() > 1e-6


@pytest.mark.parametrize("eta", [0.25, 1.0])
@pytest.mark.parametrize("kappa", [1.0, 2.0])
def test_3m_sde_is_the_published_update(eta, kappa):
    """k-diffusion's in sigma, with phi_2 and phi_3 of (1 + eta) h; kappa = 2 doubles its second difference."""
    process, rows = VE(), []
    grid = log_snr(process, 20)[:-1]
    sigma, lam = process.sigma(grid), process.lam(grid)
    for i in range(len(grid) - 1):
        z = (1 + eta) * (lam[i + 1] - lam[i])
        phi2 = np.expm1(-z) / z + 1
        phi3 = phi2 / z - 0.5
        unit = np.eye(3)
        target = -np.expm1(-z) * unit[0]
        h = lam[i + 1] - lam[i]
        if i == 1:
            target = target + phi2 * (unit[0] - unit[1]) / ((lam[i] - lam[i - 1]) / h)
        if i > 1:
            r0, r1 = (lam[i] - lam[i - 1]) / h, (lam[i - 1] - lam[i - 2]) / h
            d0, d1 = (unit[0] - unit[1]) / r0, (unit[1] - unit[2]) / r1
            first, second = d0 + (d0 - d1) * r0 / (r0 + r1), kappa * (d0 - d1) / (r0 + r1)
            target = target + phi2 * first - phi3 * second
        noise = sigma[i + 1] * np.sqrt(-np.expm1(-2 * eta * h))
        rows.append(Row(grid[i], x=np.exp(-z), x0=target[0], past=tuple(target[1:]), noise=noise))
    assert_same(dpmpp_3m_sde(process, grid, eta, kappa, lower_final=False), rows, process)


def test_half_the_curvature_costs_an_order():
    """The published second difference (kappa = 1) is half of the second derivative."""
    for kappa, want in ((1.0, 2), (2.0, 3)):
        assert order(dpmpp_3m_sde, VP(), 3, eta=0.0, kappa=kappa, steps=160) == pytest.approx(want, abs=0.3)


def test_dpmpp_sde_is_the_published_update():
    """k-diffusion's two stages in sigma, with t_fn = -log, on everything but the noise; and all of the noise's variance
    given the predictions.
    """
    process, r = VE(), 0.3
    grid = karras(process, 8)[:-1]
    for eta in (1.0, 0.4):
        table = tabulate(dpmpp_sde(process, grid, eta, r))
        for i, (t, s) in enumerate(zip(process.sigma(grid[:-1]), process.sigma(grid[1:]), strict=True)):
            middle = np.exp((1 - r) * np.log(t) + r * np.log(s))
            (down, up), (down_m, up_m) = _published_split(t, s, eta), _published_split(t, middle, eta)
            one, two = (table_row(table, 2 * i), table_row(table, 2 * i + 1))
            # in terms of the state x, D, D_middle and the two noises, by running both rows on unit vectors
            x, d, d2, z1, z2 = np.eye(5)
            at_m = one.x * x + one.x0 * d + one.eps * (x - d) / t + one.noise * z1
            end = two.x * at_m + two.x0 * d2 + two.past[0] * d + two.noise * z2
            np.testing.assert_allclose(at_m, down_m / t * x + (1 - down_m / t) * d + up_m * z1, rtol=1e-11, atol=1e-12)
            half = 0.5 / r
            want = down / t * x + (1 - down / t) * ((1 - half) * d + half * d2)
            np.testing.assert_allclose(end[:3], want[:3], rtol=1e-11, atol=1e-12)
            assert np.hypot(end[3], end[4]) == pytest.approx(up, rel=1e-11)


def _published_split(t, s, eta):
    up = min(s, eta * np.sqrt(s**2 * (t**2 - s**2) / t**2))
    return np.sqrt(s**2 - up**2), up


def table_row(table, i):
    return Row(table.t[i], None, table.x[i], table.x0[i], table.eps[i], tuple(table.past[i]), table.noise[i])


@pytest.mark.parametrize("rows", [sde_dpmpp_1, dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde])
@pytest.mark.parametrize("eta", [0.25, 1.0])
def test_marginals_whatever_the_noise(rows, eta):
    for process in (VP(), PROCESSES["linear"]):
        grid = uniform(process, 1000, 0.95, 0.05)
        check_marginal(tabulate(rows(process, grid, eta)), process, grid[-1])


def test_every_order_is_exact_on_a_point_of_data():
    """A constant prediction, whatever the step and the noise."""
    process = VP()
    for rows in (sde_dpmpp_1, dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde):
        grid = log_snr(process, 5)
        a, b = process.alpha(grid[0]), process.sigma(grid[0])
        start = Moments(np.array([a * 0.7]), np.array([b**2]))
        got = moments(tabulate(rows(process, grid)), process, 0.7, 1e-30, start)
        np.testing.assert_allclose(got.mean, 0.7 * process.alpha(grid[-1]), rtol=1e-9)
        np.testing.assert_allclose(got.var, process.sigma(grid[-1]) ** 2, rtol=1e-9)


def test_golden_values():
    assert digits(after(row_of(sde_dpmpp_1(VP(), GRID)))) == "0.3858218642"
    assert digits(row_of(sde_dpmpp_1(VP(), GRID)).noise ** 2) == "0.2536777806"
    assert digits(after(row_of(dpmpp_2m_sde(VP(), GRID, eta=0.0, lower_final=False)))) == "0.5235842839"
    exact = dpmpp_2m_sde(VP(), GRID, eta=0.0, solver="heun", lower_final=False)
    assert digits(after(row_of(exact))) == "0.5267424664"  # exponential AB-2
    exact = dpmpp_2m_sde(VP(), GRID, solver="heun", lower_final=False)
    assert digits(after(row_of(exact))) == "0.4569834603"  # SA-Solver's predictor of two points, tau = 1


@pytest.mark.parametrize(
    ("eta", "kappa", "want"), [(0.0, 1.0, "0.4929840122"), (0.0, 2.0, "0.4827764155"), (1.0, 2.0, "0.379809633")]
)
def test_golden_values_of_3m(eta, kappa, want):
    """DPM++3M of both kinds, and SA-Solver's predictor of three points, tau = 1."""
    assert digits(after(row_of(dpmpp_3m_sde(VP(), GRID, eta, kappa, lower_final=False)))) == want


@pytest.mark.parametrize(
    ("rows", "options", "name"),
    [
        (dpmpp_2m_sde, {"solver": "euler"}, "solver"),
        (dpmpp_sde, {"eta": 1.5}, "eta"),
        (dpmpp_sde, {"r": 1.0}, "r in"),
    ],
)
def test_unknown_options(rows, options, name):
    with pytest.raises(ValueError, match=name):
        tabulate(rows(VP(), uniform(VP(), 3), **options))
