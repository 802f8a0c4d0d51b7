"""What second outputs tell, where the right ones are known."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

from fewstep.diffusion import VE, VP, X0, Cosine, Linear, V, cfg, clip_x0, edm, oracles
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.levers import averaged_variance, curvature
from fewstep.diffusion.prediction import EPS, SCORE, VELOCITY
from fewstep.diffusion.variance import NPR, SN, LearnedRange

PROCESSES = {"linear": Linear(), "vp": VP(), "ve": VE(), "cosine": Cosine()}
PREDICTIONS = {"x0": X0, "eps": EPS, "v": V, "velocity": VELOCITY, "score": SCORE, "edm": edm(0.5)}


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@dataclass(frozen=True)
class Exact:
    """A network without parameters that gives the right outputs for a mixture, or a wrong mean and what belongs to it:
    `off` is its error of x0."""

    process: object
    prediction: object
    variance: object
    off: float = 0.0

    def __call__(self, params, x, t, d=None, cond=None, key=None):
        process, time = self.process, params["t"]  # the clock need not be the time
        alpha, sigma, (a, b) = process.alpha(time), process.sigma(time), self.prediction.target(process, time)
        x = x / self.prediction.input_scale(process, time)
        pred = known(process)(x, time)
        true = a * pred.x0 + b * pred.eps
        mean = a * (pred.x0 + self.off) + b * (pred.eps - alpha / sigma * self.off)
        left = (self.prediction.det(process, time) / sigma) ** 2 * pred.var
        second = true**2 + left if isinstance(self.variance, SN) else (true - mean) ** 2 + left
        return np.concatenate([mean, second], -1)


def known(process):
    return oracles.mixture(process, [-0.6, 0.7], [0.2, 0.3], [0.4, 0.6])


def denoiser(process, prediction, variance, t, off=0.0):
    return Model(Exact(process, prediction, variance, off), process, prediction, variance=variance).denoiser({"t": t})


def states(process, t):
    return process.alpha(t) * np.linspace(-1, 1, 21)[:, None] + process.sigma(t) * 0.3


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
@pytest.mark.parametrize("variance", [SN(), NPR()], ids=["sn", "npr"])
def test_exact_outputs_tell_the_variance(process, prediction, variance):
    for t in (0.05, 0.4, 0.95):
        x = states(process, t)
        found = denoiser(process, prediction, variance, t)(x, t)
        np.testing.assert_allclose(found.var, known(process)(x, t).var, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.x0, known(process)(x, t).x0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_with_a_wrong_mean_only_npr_tells_the_moment_about_it(process):
    t = 0.4
    x, off = states(process, t), 0.1
    true = known(process)(x, t)
    npr = denoiser(process, VELOCITY, NPR(), t, off)(x, t)
    np.testing.assert_allclose(npr.var, true.var + off**2, rtol=1e-9)
    # SN takes E[F^2] - F_hat^2: off by the square of the mean less that of the wrong one
    sn = denoiser(process, EPS, SN(bound=None), t, off)(x, t)
    wrong = true.eps - process.alpha(t) / process.sigma(t) * off
    moved = (process.sigma(t) / process.alpha(t)) ** 2 * (true.eps**2 - wrong**2)
    np.testing.assert_allclose(sn.var, np.maximum(true.var + moved, 0), rtol=1e-9)
    assert abs(np.asarray(sn.var) - true.var - off**2).max() > 0.02


def test_it_is_finite_where_alpha_is_zero():
    found = denoiser(Linear(), VELOCITY, NPR(), 1.0)(np.zeros((1, 1)), 1.0)
    want = 0.4 * 0.2**2 + 0.6 * 0.3**2 + 0.4 * 0.6 * 1.3**2
    assert float(found.var[0, 0]) == pytest.approx(want, rel=1e-9)


def test_bounds():
    class Wild:
        def __call__(self, params, x, t, d=None, cond=None, key=None):
            return np.concatenate([x, np.full_like(x, params)], -1)

    def told(variance, value):
        return Model(Wild(), Linear(), VELOCITY, variance=variance).denoiser(value)(np.ones((1, 1)), 1.0).var.item()

    assert told(NPR(), -1.0) == 0
    assert told(NPR(), 7.0) == 1
    assert told(NPR(bound=None), 7.0) == 7
    assert told(NPR(bound=4), 7.0) == 4


def test_a_range_is_from_minus_one_to_one_in_the_output():
    class Between:
        def __call__(self, params, x, t, d=None, cond=None, key=None):
            return np.concatenate([x, params * np.ones_like(x)], -1)

    model = Model(Between(), Linear(), VELOCITY, variance=LearnedRange())
    for value, want in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)):
        found = model.denoiser(value)(np.ones((2, 1)), 0.5)
        assert found.range.tolist() == [[want]] * 2
        assert found.var is None


@pytest.mark.slow
def test_under_levers():
    """Clipping leaves what x0 may be, mixing does not; averaging makes it one number an image."""
    t = 0.4
    den = denoiser(Linear(), VELOCITY, NPR(), t)
    x = np.concatenate([states(Linear(), t), states(Linear(), t) + 0.2], axis=1)
    plain = den(x, t).var
    np.testing.assert_array_equal(clip_x0()(den)(x, t).var, plain)
    np.testing.assert_allclose(averaged_variance()(den)(x, t).var, np.mean(plain, axis=1, keepdims=True), rtol=1e-12)
    assert averaged_variance()(oracles.mixture(Linear(), [0.0], [1.0]))(x, t).var.shape == (21, 1)
    guided = oracles.mixture(Linear(), [-0.6, 0.7], [0.2, 0.3])
    assert cfg(2.0)(guided)(x.astype(np.float32), t).var is None
    with pytest.raises(ValueError, match="second output"):
        averaged_variance()(cfg(2.0)(guided))(x.astype(np.float32), t)
    np.testing.assert_allclose(curvature(1)(clip_x0()(guided))(x, t).var, curvature(1)(guided)(x, t).var, rtol=1e-6)
