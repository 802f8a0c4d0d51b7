"""PFGM++: its kernel and prior, the denoiser of finite data, its limit, and what its noise rules out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refused import message
from scipy import stats

from fewstep.diffusion import PFGM, VE, VELOCITY, Denoiser, Linear, Shifted, oracles
from fewstep.diffusion.calibrate import measure
from fewstep.diffusion.levers import curvature
from fewstep.evaluation.likelihood import log_likelihood, vlb
from fewstep.samplers import SAMPLERS, ddpm, dpmpp_3m, draw, exact, log_snr, table_at, tabulate
from fewstep.samplers.loop import draw_many
from fewstep.samplers.registry import compared_samplers
from fewstep.samplers.start import unit_noise
from fewstep.train.data.split import Batch
from fewstep.train.objectives import ReFlow

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 2, 2, 1))
dims = pytest.mark.parametrize("dims", [1, 8, 128])


@dims
def test_the_kernel_is_that_of_the_paper(dims):
    """R^2 / (R^2 + r^2) ~ Beta(d / 2, D / 2) with r^2 = D at sigma = 1, in a uniform direction (algorithms.md C20)."""
    n, d = 20_000, 5
    eps = np.asarray(PFGM(dims=dims).noise(jax.random.key(1), (n, d)), np.float64)
    squares = (eps**2).sum(1)
    assert stats.kstest(squares / (squares + dims), stats.beta(d / 2, dims / 2).cdf).pvalue > 0.01
    unit = eps / np.sqrt(squares)[:, None]
    np.testing.assert_allclose(unit.mean(0), 0, atol=4 / np.sqrt(d * n))
    np.testing.assert_allclose(unit.T @ unit / n, np.eye(d) / d, atol=4 / np.sqrt(d * d * n))


def test_moments_of_kernel_and_prior():
    """E R^2 = sigma^2 d D / (D - 2), with a standard error from E R^4 of Student's t."""
    n, d, process = 2**15, 6, PFGM(VE(), dims=16)
    keys = jax.random.split(jax.random.key(0), n)
    prior = np.asarray(jax.vmap(lambda key: process.prior(key, 0.5, (d,)))(keys)) / process.sigma(0.5)
    for eps in (np.asarray(process.noise(jax.random.key(2), (n, d))), prior):
        squares = (np.float64(eps) ** 2).sum(1)
        assert abs(squares.mean() - d * 16 / 14) < 4 * squares.std() / np.sqrt(n)
        np.testing.assert_allclose(squares.var(), 2 * (d * 16 / 14) ** 2 * (d + 14) / (d * 12), rtol=0.15)


@pytest.mark.parametrize("process", [PFGM(VE(), 3), PFGM(Linear(), 3), Shifted(PFGM(Linear(), 3))], ids=str)
@pytest.mark.parametrize("t", [0.01, 0.3, 0.9])
def test_posterior_weights_on_finite_data(process, t):
    a, r2 = process.alpha(t), 3 * process.sigma(t) ** 2
    x = a * IMAGES[:4] + process.sigma(t) * RNG.standard_t(3, (4, 2, 2, 1))
    squares = ((x[:, None] - a * IMAGES) ** 2).sum((2, 3, 4))
    weights = (squares + r2) ** (-(4 + 3) / 2)
    want = np.einsum("bn,nhwc->bhwc", weights / weights.sum(1, keepdims=True), IMAGES)
    pred = oracles.dataset(process, IMAGES)(x, t)
    np.testing.assert_allclose(pred.x0, want, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a * pred.x0 + process.sigma(t) * pred.eps, x, rtol=1e-9, atol=1e-12)


def test_the_denoiser_tends_to_that_of_diffusion_as_one_over_d():
    x, t = IMAGES + 0.5 * RNG.standard_normal(IMAGES.shape), 0.5 / 80
    limit = oracles.dataset(VE(), IMAGES)(x, t).x0
    errors = [np.abs(oracles.dataset(PFGM(VE(), dims), IMAGES)(x, t).x0 - limit).max() for dims in (1e3, 1e4, 1e5, 1e9)]
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 10, rtol=0.02)
    assert errors[3] < 1e-6


def test_images_and_noise_tend_to_those_of_diffusion():
    with jax.enable_x64(True):
        data, shape = jnp.asarray(IMAGES), (2, 2, 1)
        table = table_at(SAMPLERS["dpmpp_2m"], VE(), 8)
        images = {
            process: draw(oracles.dataset(process, data), table, range(32), shape)
            for process in (VE(), PFGM(VE(), 1e14), PFGM(VE(), 4))
        }
        noise = PFGM(VE(), 1e14).noise(jax.random.key(0), (32, *shape)), VE().noise(jax.random.key(0), (32, *shape))
    np.testing.assert_allclose(images[PFGM(VE(), 1e14)], images[VE()], atol=1e-6)
    np.testing.assert_allclose(*noise, rtol=1e-6)
    assert np.abs(images[PFGM(VE(), 4)] - images[VE()]).max() > 0.1


@pytest.mark.parametrize("process", [PFGM(VE(sigma_max=3.0), 1), PFGM(Linear(), 3)], ids=str)
def test_the_flow_carries_the_kernel_to_itself(process):
    """Noised data at a large t, taken to a smaller one by a deterministic table, are noised data at that one."""
    n, data = 8000, np.float32([[-0.5, 0.2], [0.5, -0.4], [0.1, 0.6]])
    grid = log_snr(process, 64, start=0.7, end=0.15)
    x0 = data[np.arange(2 * n) % 3]
    eps = np.asarray(unit_noise(np.arange(2 * n, dtype=np.uint32), (2,), process))
    begin, want = (process.alpha(t) * x0 + process.sigma(t) * eps for t in (grid[0], grid[-1]))
    den = oracles.dataset(process, jnp.asarray(data))
    got = draw_many(den, tabulate(dpmpp_3m(process, grid)), range(n), (2,), start=np.float32(begin[:n]), batch=n)
    for direction in np.array([[1, 0], [0, 1], [0.6, -0.8]]):
        assert stats.ks_2samp(got @ direction, want[n:] @ direction).pvalue > 0.01


GRID = log_snr(Linear(), 4)
DEN = Denoiser.from_function(lambda params, x, t, d, cond, key: x, {}, PFGM(Linear(), 8), VELOCITY)
ONES = np.ones((2, 2, 2, 1), np.float32)
PAIRS = Batch(ONES, np.zeros(2, np.int32), seed=np.arange(2, dtype=np.uint32))


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: table_at(SAMPLERS["ddpm"], DEN.process, 4), "ddpm adds Gaussian noise, and that of PFGM is not"),
        (lambda: table_at(SAMPLERS["analytic_ddim"], DEN.process, 4), "analytic_ddim adds Gaussian noise"),
        (lambda: draw(DEN, tabulate(ddpm(Linear(), GRID)), [0], (2,)), "this table adds Gaussian noise"),
        (lambda: exact.moments(table_at(SAMPLERS["ddim"], DEN.process, 4), DEN.process, 0, 1), "of Gaussian data requ"),
        (lambda: oracles.mixture(DEN.process, [0.0], [1.0]), "the exact denoiser of a mixture requires Gaussian noise"),
        (lambda: measure(DEN, ONES, [0.0]), "the variance of x0 given x_t requires Gaussian noise, and that of PFGM"),
        (lambda: curvature()(DEN)(ONES, 0.5), "the covariance from the Jacobian requires Gaussian noise"),
        (lambda: log_likelihood(DEN, ONES), "bpd requires Gaussian noise, and that of PFGM is not"),
        (lambda: vlb(DEN, tabulate(ddpm(Linear(), GRID)), ONES), "bpd requires Gaussian noise"),
        (lambda: ReFlow().draw(DEN.model, PAIRS, jax.random.key(0)), "@reflow() requires Gaussian noise"),
        (lambda: DEN.under(VE()), "has other noise than PFGM(process=Linear(), dims=8)"),
        (lambda: PFGM(PFGM()), "PFGM.process requires Gaussian noise"),
        (lambda: PFGM(dims=0), "PFGM.dims is a number in [1, 1e+15]: got 0"),
    ],
)
def test_what_requires_gaussian_noise_is_refused(call, part):
    assert part in message(call)


def test_comparisons_show_samplers_without_noise():
    assert compared_samplers([DEN]) == ["ddim", "heun", "dpmpp_2m"]
    assert DEN.under(PFGM(VE(), 8)).process == PFGM(VE(), 8)
