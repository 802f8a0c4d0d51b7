"""Statistics of what a network leaves open, against exact denoisers."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest
from jax.tree_util import register_dataclass
from scipy.stats import norm

from fewstep.diffusion import VP, Cond, Linear, oracles
from fewstep.diffusion.calibrate import DEVIATIONS, calibrated, measure
from fewstep.diffusion.denoiser import Wrapper

LAM = np.linspace(-4, 4, 9)


def gaussian(process, std, lam):
    """The exact variance of x0 given x_t."""
    return std**2 / (1 + std**2 * np.exp(2 * lam))


@register_dataclass
@dataclass(frozen=True)
class Biased(Wrapper):
    """A mean that is off by so much, everywhere."""

    inner: Any
    by: float = field(default=0.1)

    def __call__(self, x, t, s=None, cond=Cond()):
        pred = self.inner(x, t, s, cond)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return pred._replace(x0=pred.x0 + self.by, eps=pred.eps - alpha / sigma * self.by)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(0.2, 0.5, (3000, 4, 4, 1)).astype(np.float32)


@pytest.mark.parametrize("process", [Linear(), VP()], ids=["linear", "vp"])
def test_both_estimates_are_the_variance_of_gaussian_data(process, images):
    found = measure(oracles.gaussian(process, 0.2, 0.5), images, LAM)
    want = gaussian(process, 0.5, LAM)
    for value, error in (found[1:3], found[3:5]):
        assert (abs(value - want) < 4.5 * error).all()
    assert (found.residual_error < 0.02 * want).all()
    assert found.score_norm_error[0] > 20 * found.residual_error[0]  # why the residual is the default


def test_of_a_mixture(images):
    """The exact posterior variance, averaged over states."""
    process, rng = Linear(), np.random.default_rng(1)
    data = np.where(rng.random((4000, 6)) < 0.5, -0.6, 0.7) + 0.2 * rng.standard_normal((4000, 6))
    den = oracles.mixture(process, [-0.6, 0.7], [0.2, 0.2], [0.5, 0.5])
    one = data[:, :1].astype(np.float32)  # the components are those of whole images
    found = measure(den, one, LAM)
    for lam, value, error in zip(LAM, found.residual, found.residual_error, strict=True):
        t = float(process.time(np.float64(lam)))
        x = process.alpha(t) * data[:, 1:2] + process.sigma(t) * rng.standard_normal((4000, 1))
        want = den(x, t).var
        assert abs(value - want.mean()) < 4.5 * np.hypot(error, want.std() / np.sqrt(4000))


def test_a_bias_of_the_mean_is_part_of_the_residual_alone(images):
    """The second moment about the mean that is used: Var + bias^2; of the score norm nobody can say."""
    den = oracles.gaussian(Linear(), 0.2, 0.5)
    plain, biased = (measure(d, images, LAM[4:]) for d in (den, Biased(den, 0.1)))
    np.testing.assert_allclose(biased.residual - plain.residual, 0.01, atol=2e-3)
    assert abs(biased.score_norm - plain.score_norm - 0.01).min() > 0.005


def test_every_image_has_its_noise_whatever_the_batch(images):
    den = oracles.gaussian(Linear(), 0.2, 0.5)
    one, other = (measure(den, images[:10], LAM[:2], batch=batch) for batch in (3, 10))
    np.testing.assert_allclose(one.residual, other.residual, rtol=1e-5)
    assert not np.allclose(measure(den, images[:10], LAM[:2], seed=1).residual, other.residual, rtol=1e-3)


def test_between_the_points_and_beyond(images):
    den = oracles.gaussian(VP(), 0.2, 0.5)
    known = calibrated(den, measure(den, images, np.linspace(-4, 4, 33)))
    x = images[:2]
    for lam in (-3.9, 0.13, 2.77):
        t = float(VP().time(np.float64(lam)))
        want = gaussian(VP(), 0.5, lam)
        assert float(known(x, t).var) == pytest.approx(want, rel=0.02)
        np.testing.assert_array_equal(known(x, t).x0, den(x, t).x0)
        assert jax.jit(lambda den, x, t: den(x, t).var)(known, x, t) == pytest.approx(want, rel=0.02)
    many = known(x, np.float32([0.2, 0.9])).var
    assert many.shape == (2, 1, 1, 1)
    assert float(many[1, 0, 0, 0]) == pytest.approx(float(known(x, 0.9).var))
    assert float(calibrated(den, measure(den, images, LAM))(x, 1.0).var) == pytest.approx(
        gaussian(VP(), 0.5, -4), rel=0.02
    )


def test_data_within_bounds_have_no_more_variance():
    found = measure(oracles.gaussian(Linear(), 0.0, 3.0), np.full((4, 2), 3.0, np.float32), [-5.0, -4.0])
    assert float(calibrated(None, found, bound=1.0).var.max()) == 1.0
    assert float(calibrated(None, found, bound=None).var.max()) > 1.0
    noisy = found._replace(score_norm=np.array([-1.0, 0.5]))
    assert calibrated(None, noisy, "score_norm").var.tolist() == [0.0, 0.5]
    with pytest.raises(ValueError, match="residual and score_norm"):
        calibrated(None, found, "best")


def test_what_levels_cost_to_tell():
    """By the errors of 8-bit images themselves: half of these have the darkest level, of which nothing is below."""
    rng = np.random.default_rng(0)
    images = np.where(rng.random((200, 4, 4, 1)) < 0.5, -1.0, rng.integers(0, 256, (200, 4, 4, 1)) / 127.5 - 1)
    den, lam = oracles.gaussian(Linear(), -0.5, 0.7), np.array([-1.0, 2.0])
    found = measure(den, np.float32(images), lam, eight_bit=True).decoder
    assert found.shape == (2, len(DEVIATIONS))
    t = float(Linear().time(np.float64(2.0)))
    x = Linear().alpha(t) * images + Linear().sigma(t) * rng.standard_normal(images.shape)
    mean = den(x, t).x0
    low = np.where(images < -0.999, -np.inf, images - 1 / 255)
    high = np.where(images > 0.999, np.inf, images + 1 / 255)
    for i in (43, 51, 59):
        told = np.log(norm.cdf(high, mean, DEVIATIONS[i]) - norm.cdf(low, mean, DEVIATIONS[i]))
        assert found[1, i] == pytest.approx(-told.mean(), abs=5 * told.std() / np.sqrt(images.size / 2))
    assert measure(den, np.float32(images), lam).decoder.shape == (2, 0)
