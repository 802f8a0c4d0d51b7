"""Likelihoods of data whose entropy is known."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from fewstep.diffusion import VE, VP, Linear, levels, oracles
from fewstep.diffusion.adapters import as_denoiser
from fewstep.diffusion.calibrate import DEVIATIONS, calibrated, measure
from fewstep.diffusion.levels import LEVELS
from fewstep.diffusion.levers import clip_x0, curvature
from fewstep.evaluation.likelihood import bits, is_bound, log_likelihood, vlb
from fewstep.samplers import analytic_ddpm, ddim, ddpm, dpmpp_2m, log_snr, tabulate, uniform
from fewstep.samplers.optimal_grid import dp

MEAN, STD = 0.1, 0.3
PROCESSES = [Linear(), VP(), VE()]
every = pytest.mark.parametrize("process", PROCESSES, ids=["linear", "vp", "ve"])


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).normal(MEAN, STD, (2000, 4)).astype(np.float32)


@every
def test_the_flow_knows_the_density_of_gaussian_data(process, points):
    got = log_likelihood(oracles.gaussian(process, MEAN, STD), points[:200])
    want = norm.logpdf(points[:200].astype(np.float64), MEAN, STD).sum(1)
    slack = 0.02 if isinstance(process, VP) else 0.01  # the prior leaves alpha_1 out
    np.testing.assert_allclose(got, want, atol=slack * 4)
    assert abs((got - want).mean()) / (4 * np.log(2)) < 0.01  # bits


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
def test_and_of_a_mixture(process):
    means, stds, weights = [-0.6, 0.5], [0.2, 0.3], [0.4, 0.6]
    rng = np.random.default_rng(1)
    k = (rng.random(1500) < 0.6).astype(int)
    x = (np.take(means, k) + np.take(stds, k) * rng.standard_normal(1500))[:, None].astype(np.float32)
    got = log_likelihood(oracles.mixture(process, means, stds, weights), x)

    def density(at):
        return sum(w * norm.pdf(at, m, s) for w, m, s in zip(weights, means, stds, strict=True))

    np.testing.assert_allclose(got, np.log(density(x[:, 0].astype(np.float64))), atol=0.03)
    entropy = quad(lambda at: -density(at) * np.log2(density(at)), -3, 3, limit=200)[0]
    error = np.log2(density(x[:, 0])).std() / np.sqrt(1500)
    assert abs(-got.mean() / np.log(2) - entropy) < 0.01 + 3 * error


def test_bits_of_images_of_known_law():
    """Levels of a wide Gaussian: their entropy is that of the density, plus 7."""
    rng = np.random.default_rng(0)
    levels = np.clip(np.round(127.5 + 30 * rng.standard_normal((500, 4, 4, 1))), 0, 255).astype(np.uint8)
    std = np.hypot(30, np.sqrt(1 / 12)) * 2 / LEVELS
    got = bits(oracles.gaussian(Linear(), 0.0, std), levels)
    want = 7 + 0.5 * np.log2(2 * np.pi * np.e * std**2)
    assert got.mean() == pytest.approx(want, abs=0.02)


def expected(process, grid, variance):
    """The steps' KLs on N(MEAN, STD^2), in bits, by their closed form."""
    found = []
    for t, s in pairwise(grid[:-1]):
        h = process.lam(s) - process.lam(t)
        inner, moved = process.sigma(s) ** 2 * -np.expm1(-2 * h), process.alpha(s) * -np.expm1(-2 * h)
        m = 1 / (STD**-2 + np.exp(2 * process.lam(t)))
        best = inner + moved**2 * m
        large = inner + moved**2 * process.sigma(t) ** 2 / (process.alpha(t) ** 2 + process.sigma(t) ** 2)
        var = {"small": inner, "large": large, "analytic": best}[variance]
        found.append(0.5 * (np.log(var / inner) + best / var - 1) / np.log(2))
    return np.array(found)


TABLES = {
    "small": ddpm,
    "large": lambda process, grid: ddpm(process, grid, "large"),
    "analytic": analytic_ddpm,
}


@every
@pytest.mark.parametrize("variance", TABLES)
def test_the_bound_of_gaussian_data(process, points, variance):
    grid = uniform(process, 6, end=0.0)
    den = oracles.gaussian(process, MEAN, STD)
    found = vlb(den, tabulate(TABLES[variance](process, grid)), points)
    want = expected(process, grid, variance)
    error = found.steps.std(0) / np.sqrt(len(points))
    assert (abs(found.steps.mean(0) - want) < 4.5 * error + 1e-6).all()
    prior = 0.5 * (process.alpha(1.0) / process.sigma(1.0)) ** 2 * (MEAN**2 + STD**2) / np.log(2)
    assert found.prior.mean() == pytest.approx(prior, rel=0.1, abs=1e-12)


def test_terms_of_one_point_are_those_of_two_gaussians():
    """To 1e-6: data of a single point have no spread, so every number of a KL is known."""
    process, grid = VP(), uniform(VP(), 5, end=0.0)
    x0 = np.full((1, 3), 0.25, np.float32)
    with jax.enable_x64(True):
        den = oracles.gaussian(process, 0.2, 1e-9)  # D = 0.2 whatever x
        found = vlb(den, tabulate(ddpm(process, grid, "large")), np.float64(x0))
    for i, (t, s) in enumerate(pairwise(grid[:-1])):
        h = process.lam(s) - process.lam(t)
        inner, moved = process.sigma(s) ** 2 * -np.expm1(-2 * h), process.alpha(s) * -np.expm1(-2 * h)
        var = inner + moved**2 * process.sigma(t) ** 2
        kl = np.log(np.sqrt(var / inner)) + (inner + (moved * 0.05) ** 2) / (2 * var) - 0.5
        assert found.steps[0, i] == pytest.approx(kl / np.log(2), abs=1e-6)


@every
@pytest.mark.parametrize("variance", TABLES)
def test_terms_of_gaussian_data_are_those_of_two_gaussians(process, variance):
    """To 1e-6, image by image: of the posterior of its x0, and of the step from D = E[x0 | x_t] by its closed form."""
    grid, n = uniform(process, 5, end=0.0), 20
    x0 = np.random.default_rng(3).normal(MEAN, STD, (n, 3))
    with jax.enable_x64(True):
        found = vlb(oracles.gaussian(process, MEAN, STD), tabulate(TABLES[variance](process, grid)), x0)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(np.arange(n))
        for i, (t, s) in enumerate(pairwise(grid[:-1])):
            eps = np.stack([jax.random.normal(jax.random.fold_in(key, i), (3,), np.float64) for key in keys])
            alpha, sigma = process.alpha(t), process.sigma(t)
            gain = alpha * STD**2 / ((alpha * STD) ** 2 + sigma**2)
            d = MEAN + gain * (alpha * x0 + sigma * eps - alpha * MEAN)
            h = process.lam(s) - process.lam(t)
            inner, moved = process.sigma(s) ** 2 * -np.expm1(-2 * h), process.alpha(s) * -np.expm1(-2 * h)
            left = STD**2 * sigma**2 / ((alpha * STD) ** 2 + sigma**2)
            wide = sigma**2 / (alpha**2 + sigma**2)
            var = inner + moved**2 * {"small": 0.0, "large": wide, "analytic": left}[variance]
            kl = 0.5 * np.log(var / inner) + (inner + (moved * (x0 - d)) ** 2) / (2 * var) - 0.5
            np.testing.assert_allclose(found.steps[:, i], kl.mean(1) / np.log(2), rtol=1e-6, atol=1e-6)
    prior = 0.5 * (process.alpha(grid[0]) / process.sigma(grid[0]) * x0) ** 2
    np.testing.assert_allclose(found.prior, prior.mean(1) / np.log(2), rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def known():
    """8-bit images, half of them the darkest level, and a denoiser with one variance a noise level, as `dp` counts."""
    images = levels.nearest(np.random.default_rng(0).normal(-0.9, [0.05, 0.1, 0.3, 0.5], (2000, 4))).astype(np.float32)
    den = oracles.gaussian(Linear(), -0.9, np.array([0.05, 0.1, 0.3, 0.5]))
    found = measure(den, images[:1000], np.linspace(-6.5, 6.5, 60), eight_bit=True, batch=500)
    return calibrated(den, found), found, np.asarray(images[1000:])


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 3, 5, 7, 10, 30])
@pytest.mark.parametrize("variance", TABLES)
def test_the_best_trajectory_has_the_better_bound(known, steps, variance):
    """The whole of it, decoder included, as measured on other images."""
    den, found, images = known
    even, best = (
        vlb(den, tabulate(TABLES[variance](Linear(), grid)), images, batch=500).total
        for grid in (uniform(Linear(), steps, end=0.0), dp(Linear(), steps, known=found, variance=variance))
    )
    gain = even - best
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


EDGES = np.concatenate([[-np.inf], (np.arange(1, LEVELS) - 0.5) / 127.5 - 1, [np.inf]])
CHOICE = np.log2(len(DEVIATIONS))  # bits that tell the deviation


def test_levels_have_the_probabilities_of_their_intervals():
    """Under the deviation of the shortest code."""
    levels = (np.arange(LEVELS) / 127.5 - 1).astype(np.float32)[:, None]
    den, table = oracles.gaussian(VP(), 0.2, 1e-6), tabulate(ddpm(VP(), uniform(VP(), 5, end=0.0)))
    found = vlb(den, table, levels).decoder - CHOICE / LEVELS
    chances = [np.diff(norm.cdf(EDGES, 0.2, deviation)) for deviation in DEVIATIONS[-20:]]
    np.testing.assert_allclose(found, min((-np.log2(chance) for chance in chances), key=np.mean), rtol=1e-3, atol=1e-4)
    assert (2.0**-found).sum() == pytest.approx(1.0, rel=1e-3)


@every
@pytest.mark.parametrize("steps", [10, 100])
def test_the_decoder_has_the_deviation_of_the_error(process, steps):
    """Whatever the length of the last steps."""
    x0 = np.asarray(levels.nearest(np.random.default_rng(1).normal(MEAN, STD, (2000, 4)).astype(np.float32)))
    end = process.time(np.float64(1.0))
    grid = np.append(log_snr(process, steps, start=process.snr_ends[0], end=end), 0.0)
    found = vlb(oracles.gaussian(process, MEAN, STD), tabulate(ddpm(process, grid)), x0).decoder
    want = 0.5 * np.log2(2 * np.pi * np.e / (STD**-2 + np.exp(2))) + np.log2(127.5)
    assert found.mean() == pytest.approx(want, abs=0.01 + 4 * found.std() / np.sqrt(len(x0)))


def test_finer_chains_approach_the_entropy():
    process, x0 = VP(), np.random.default_rng(2).normal(MEAN, STD, (1000, 4)).astype(np.float32)
    x0, den = np.asarray(levels.nearest(x0)), oracles.gaussian(VP(), MEAN, STD)
    chance = np.diff(norm.cdf(EDGES, MEAN, STD))
    entropy = -np.log2(chance[np.round(127.5 * x0 + 127.5).astype(int)]).mean(1)
    excess = []
    for steps in (10, 40, 160, 640):
        grid = np.append(log_snr(process, steps, start=process.snr_ends[0], end=0.01), 0.0)
        excess.append(vlb(den, tabulate(ddpm(process, grid)), x0, batch=1000).total - entropy)
    assert (np.diff(np.mean(excess, 1)) < 0).all()
    assert abs(excess[-1].mean()) < 0.02 + 4 * excess[-1].std() / np.sqrt(len(x0))


def test_probes_are_those_of_the_image_and_not_of_its_place_in_a_batch(points):
    den = curvature(1)(as_denoiser(lambda x, t: 0.4 * x[:, ::-1], VP()))
    table = tabulate(analytic_ddpm(VP(), uniform(VP(), 4, end=0.0)))
    one, two = (vlb(den, table, points[:6], batch=batch).steps for batch in (2, 6))
    np.testing.assert_allclose(one, two, rtol=1e-4)


@pytest.mark.slow
def test_the_optimal_variance_is_the_best(points):
    den = oracles.gaussian(Linear(), MEAN, STD)
    for steps in (3, 10):
        grid = uniform(Linear(), steps)
        small, large, analytic = (vlb(den, tabulate(rows(Linear(), grid)), points).total for rows in TABLES.values())
        assert analytic.mean() < min(small.mean(), large.mean())


def test_it_is_not_told_where_a_lever_breaks_the_prediction(points):
    table, den = tabulate(ddpm(VP(), uniform(VP(), 4, end=0.0))), oracles.gaussian(VP(), MEAN, STD)
    assert is_bound(clip_x0()(den), table)
    assert not is_bound(clip_x0(rebuild=False)(den), table)
    with pytest.raises(ValueError, match="remove the lever"):
        vlb(clip_x0(rebuild=False)(den), table, points[:2])


@pytest.mark.parametrize("rows", [ddim, dpmpp_2m])
def test_a_bound_is_of_chains_like_ddpm(rows, points):
    with pytest.raises(ValueError, match="DDPM"):
        vlb(oracles.gaussian(VP(), MEAN, STD), tabulate(rows(VP(), uniform(VP(), 4, end=0.0))), points[:2])
