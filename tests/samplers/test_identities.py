"""Equal methods are equal tables, published updates run beside ours, golden values (algorithms.md G4, G5)."""

from itertools import pairwise

import numpy as np
import pytest
from checks import MIXTURE, assert_same, check_marginal, inside
from golden import ALPHA, GRID, SIGMA, after, digits, row_of
from scipy.linalg import sqrtm

from fewstep.diffusion import VE, VP, Cosine, Linear, oracles
from fewstep.samplers import (
    Row,
    ddim,
    ddpm,
    dpmpp_2m,
    euler,
    euler_maruyama,
    heun,
    karras,
    log_snr,
    optimal_variance,
    reduced,
    tabulate,
    uniform,
)  # fmt: skip
from fewstep.samplers.euler import classical
from fewstep.samplers.exact import Moments, follow, frechet, moments
from fewstep.samplers.steps import steps


@inside
def test_ddim_is_euler_in_sigma_over_alpha(process, grid):
    """d(x / alpha) = eps d(sigma / alpha)."""
    rows = []
    for t, s in steps(grid):
        step = process.sigma(s) / process.alpha(s) - process.sigma(t) / process.alpha(t)
        rows.append(Row(t, x=process.alpha(s) / process.alpha(t), eps=process.alpha(s) * step))
    assert_same(ddim(process, grid), rows, process)


@inside
def test_ddim_is_the_first_exponential_integrator(process, grid):
    """DPM-Solver++-1, written with x and x0: `reduced` sees through the writing."""
    rows = []
    for t, s in steps(grid):
        ratio = process.sigma(s) / process.sigma(t)
        rows.append(Row(t, x=ratio, x0=process.alpha(s) - ratio * process.alpha(t)))
    assert_same(ddim(process, grid), rows, process)


def test_reduced_tells_methods_apart():
    one, other = (reduced(tabulate(ddim(VP(), uniform(VP(), 5), eta)), VP()) for eta in (0.0, 0.01))
    assert np.abs(one.x0 - other.x0).max() > 1e-6


@pytest.mark.parametrize("process", [Linear(), VE()], ids=str)
def test_euler_is_ddim_where_the_path_is_affine(process):
    for grid in (uniform(process, 9), log_snr(process, 9)):
        assert_same(euler(process, grid), ddim(process, grid), process)


@inside
def test_small_ddpm_is_ddim_with_eta_one_and_the_posterior(process, grid):
    """q(x_s | x_t, x_0) of 0.2, by conditioning a pair of Gaussians: x_t = r x_s + N(0, added)."""
    rows = []
    for t, s in steps(grid):
        r = process.alpha(t) / process.alpha(s)
        added = process.sigma(t) ** 2 - r**2 * process.sigma(s) ** 2
        gain = r * process.sigma(s) ** 2 / process.sigma(t) ** 2
        sd = np.sqrt(process.sigma(s) ** 2 * added / process.sigma(t) ** 2)
        rows.append(Row(t, x=gain, x0=process.alpha(s) - gain * process.alpha(t), noise=sd))
    assert_same(ddpm(process, grid), rows, process)
    assert_same(ddpm(process, grid), ddim(process, grid, eta=1.0), process)


def test_ddpm_in_the_letters_of_the_paper():
    """Ho et al. 2020, eq. 6 and 7, with alpha-bar and beta of a respaced chain."""
    process, grid = VP(), uniform(VP(), 8, 1.0, 0.1)
    bar = process.alpha(grid) ** 2
    rows, large = [], []
    for i in range(8):
        keep = bar[i] / bar[i + 1]
        beta = 1 - keep
        x0 = np.sqrt(bar[i + 1]) * beta / (1 - bar[i])
        x = np.sqrt(keep) * (1 - bar[i + 1]) / (1 - bar[i])
        rows.append(Row(grid[i], x=x, x0=x0, noise=np.sqrt(beta * (1 - bar[i + 1]) / (1 - bar[i]))))
        large.append(rows[-1]._replace(noise=np.sqrt(beta)))
    assert_same(ddpm(process, grid), rows, process)
    assert_same(ddpm(process, grid, "large"), [*large[:-1], rows[-1]], process)


@pytest.mark.parametrize("process", [VP(), Cosine()], ids=str)
def test_large_variance_on_variance_preserving_processes(process):
    """-sigma_t^2 expm1(-2h), but for the last row."""
    grid = uniform(process, 8)
    table, small = tabulate(ddpm(process, grid, "large")), tabulate(ddpm(process, grid))
    t, s = grid[:-1], grid[1:]
    want = -(process.sigma(t) ** 2) * np.expm1(-2 * (process.lam(s) - process.lam(t)))
    np.testing.assert_allclose(table.noise[:-1] ** 2, want[:-1], rtol=1e-12)
    assert table.noise[-1] == small.noise[-1]


@inside
def test_large_variance_is_exact_for_unit_gaussians(process, grid):
    table = tabulate(list(ddpm(process, grid, "large"))[:-1])
    start, end = (process.alpha(t) ** 2 + process.sigma(t) ** 2 for t in (grid[0], grid[-2]))
    got = moments(table, process, 0.0, 1.0, Moments(np.zeros(1), np.array([start])))
    np.testing.assert_allclose(got.var, end, rtol=1e-11)


def test_unknown_variance():
    with pytest.raises(ValueError, match="medium"):
        tabulate(ddpm(VP(), uniform(VP(), 3), "medium"))


@inside
def test_euler_maruyama_with_the_classical_noise_is_the_reverse_sde(process, grid):
    """dx = [f x - g^2 score] dt + g dW with f = alpha'/alpha and g^2 = (sigma^2)' - 2 f sigma^2, one step at a time."""
    rows = []
    for t, s in steps(grid):
        f, sigma = process.dalpha(t) / process.alpha(t), process.sigma(t)
        g2 = 2 * sigma * process.dsigma(t) - 2 * f * sigma**2
        rows.append(Row(t, x=1 + (s - t) * f, eps=(s - t) * g2 / sigma, noise=np.sqrt(g2 * (t - s))))
    assert_same(euler_maruyama(process, grid, w=classical), rows, process)


@inside
@pytest.mark.slow
def test_euler_maruyama_keeps_the_marginals_whatever_its_noise(process, grid):
    grid = uniform(process, 4000, grid[0], grid[-1])
    for w in (classical, lambda process, t: 0.3, lambda process, t: t):
        check_marginal(tabulate(euler_maruyama(process, grid, w=w)), process, grid[-1])


def test_the_default_noise_is_classical_on_ve_and_sigma_on_the_linear_path():
    for process, w in ((VE(), classical), (Linear(), lambda process, t: process.sigma(t))):
        grid = uniform(process, 9)
        assert_same(euler_maruyama(process, grid), euler_maruyama(process, grid, w=w), process)


@inside
def test_euler_maruyama_without_noise_is_euler(process, grid):
    assert_same(euler_maruyama(process, grid, w=lambda process, t: 0.0), euler(process, grid), process)


def test_heun_on_ve_is_edm_without_churn():
    """Karras et al. 2022, algorithm 2 with gamma = 0, in sigma."""
    process, grid = VE(), karras(VE(), 18)
    den = oracles.mixture(process, *MIXTURE)
    sigmas = 80 * grid
    start = 80 * np.linspace(-2, 2, 7)[:, None]

    def slope(x, sigma):
        return (x - den(x, sigma / 80).x0) / sigma

    x = start
    for now, then in pairwise(sigmas):
        d = slope(x, now)
        there = x + (then - now) * d
        x = there if then == 0 else x + (then - now) * (d + slope(there, then)) / 2
    np.testing.assert_allclose(follow(tabulate(heun(process, grid)), den, start), x, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("process", [VP(), Linear(), VE()], ids=str)
@pytest.mark.parametrize(("count", "lower_final"), [(8, None), (20, None), (8, False)])
def test_dpmpp_2m_is_the_published_update(process, count, lower_final):
    grid = log_snr(process, count, process.time(-2.0), process.snr_ends[1])  # lowering is for the data
    den = oracles.mixture(process, *MIXTURE)
    start = np.linspace(-1.5, 1.5, 7)[:, None] * np.hypot(process.alpha(grid[0]), process.sigma(grid[0]))
    x, before, h_before = start, None, None
    for i, (t, s) in enumerate(pairwise(grid)):
        h, now = process.lam(s) - process.lam(t), den(x, t).x0
        lower = count < 15 if lower_final is None else lower_final
        target = now
        if i > 0 and not (lower and i == count - 1):
            target = now + 0.5 * (now - before) / (h_before / h)
        x = process.sigma(s) / process.sigma(t) * x - process.alpha(s) * np.expm1(-h) * target
        before, h_before = now, h
    got = follow(tabulate(dpmpp_2m(process, grid, lower_final=lower_final)), den, start)
    np.testing.assert_allclose(got, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("c", [0.3, 2.0])
@inside
def test_ddim_on_a_gaussian_is_a_product_of_cosines(process, grid, c):
    """Algorithms.md B1, with sigma/alpha = c tan(theta)."""
    start, end = (c**2 * process.alpha(t) ** 2 + process.sigma(t) ** 2 for t in (grid[0], grid[-1]))
    got = moments(tabulate(ddim(process, grid)), process, 0.0, c**2, Moments(np.zeros(1), np.array([start])))
    theta = np.arctan(process.sigma(grid) / process.alpha(grid) / c)
    np.testing.assert_allclose(np.sqrt(got.var / end), np.prod(np.cos(-np.diff(theta))), rtol=1e-11)


def test_golden_process():
    assert [digits(a) for a in (ALPHA, SIGMA)] == ["0.5952677497", "0.8035274147"]
    assert [digits(f(GRID[3])) for f in (VP().alpha, VP().sigma)] == ["0.7737490938", "0.6334921782"]
    assert digits(np.log(VP().alpha(0.5))) == "-1.26875"
    assert digits(VP().lam(0.5)) == "-1.227567734"


def test_golden_grid():
    sigma = VE().sigma(karras(VE(), 18))
    assert [digits(sigma[i]) for i in (1, 9, 17)] == ["57.58598472", "1.923339837", "0.002"]
    assert sigma[18] == 0


def test_golden_mixture():
    t = float(VP().time(np.log(0.6 / 0.8)))
    pred = oracles.mixture(VP(), *MIXTURE)(np.array([[0.3]]), t)
    assert digits(pred.x0[0, 0]) == "0.305818982"
    assert digits(pred.var[0, 0]) == "0.7089767275"


def test_golden_ddim_and_ddpm():
    assert digits(after(row_of(ddim(VP(), GRID)))) == "0.4855284657"
    row = row_of(ddpm(VP(), GRID))
    assert digits(after(row)) == "0.3858218642"
    assert digits(row.noise**2) == "0.2536777806"


def test_golden_analytic_variance():
    for eta, want in ((1.0, "0.3134831457"), (0.0, "0.02317192476")):
        row = row_of(optimal_variance(ddim(VP(), GRID, eta), VP()))
        assert digits(row.noise**2 + row.spread**2 * 0.25) == want


def test_golden_dpmpp_2m():
    assert digits(after(row_of(dpmpp_2m(VP(), GRID, lower_final=False)))) == "0.5235842839"


def test_frechet_distance_of_moments_is_the_matrix_formula():
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), and a finer DDIM is nearer to the data."""
    rng, process = np.random.default_rng(0), VP()
    mean, var = rng.standard_normal(5), rng.uniform(0.01, 1, 5)
    distances = []
    for steps_ in (5, 10, 20):
        got = moments(tabulate(ddim(process, log_snr(process, steps_))), process, mean, var)
        root = sqrtm(np.diag(got.var) @ np.diag(var)).real
        want = ((got.mean - mean) ** 2).sum() + np.trace(np.diag(got.var) + np.diag(var) - 2 * root)
        distances.append(frechet(got, mean, var))
        assert distances[-1] == pytest.approx(want, rel=1e-9)
    assert distances[0] > distances[1] > distances[2]
