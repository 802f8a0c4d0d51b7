"""Loss weights: whatever the network predicts, the loss is the error that the weight names."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import VP, Linear
from fewstep.diffusion.denoiser import INSTANT, JUMP, Model
from fewstep.diffusion.prediction import EPS, SCORE, VELOCITY, X0, V, edm
from fewstep.samplers import SAMPLERS, draw, table_at
from fewstep.train.data.split import Batch
from fewstep.train.objectives import CTM, IMM, LSD, PSD, Denoising, MeanFlow, Shortcut
from fewstep.train.objectives.weights import elbo, error_in, min_snr, native, noise
from fewstep.train.state import State

PREDICTIONS = {"x0": X0, "eps": EPS, "v": V, "velocity": VELOCITY, "score": SCORE, "edm": edm(0.5)}
PROCESSES = {"linear": Linear(), "vp": VP()}
T = jnp.linspace(0.1, 0.9, 9)


def errors(process, prediction):
    """(x0, eps, squared errors of a network's output (9,)), where true and predicted pairs have the same x."""
    rng = np.random.default_rng(0)
    x0, eps, guess = (jnp.asarray(rng.standard_normal(9), jnp.float32) for _ in range(3))
    other = (process.alpha(T) * x0 + process.sigma(T) * eps - process.alpha(T) * guess) / process.sigma(T)
    return (
        (guess - x0) ** 2,
        (other - eps) ** 2,
        (prediction.encode(process, T, guess, other) - prediction.encode(process, T, x0, eps)) ** 2,
    )


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
def test_weighted_errors_are_those_that_are_named(process, prediction):
    of_x0, of_eps, own = errors(process, prediction)
    for target in PREDICTIONS.values():
        _, _, named = errors(process, target)
        np.testing.assert_allclose(error_in(process, prediction, T, target, 0.0) * own, named, rtol=2e-4)
    snr = (process.alpha(T) / process.sigma(T)) ** 2
    np.testing.assert_allclose(noise(process, prediction, T) * own, of_eps, rtol=2e-4)
    np.testing.assert_allclose(elbo(process, prediction, T) * own, -process.dlam(T) * of_eps, rtol=2e-4)
    np.testing.assert_allclose(min_snr(process, prediction, T, 5.0) * own, jnp.minimum(snr, 5) * of_x0, rtol=2e-4)
    np.testing.assert_array_equal(native(process, prediction, T), 1.0)


def test_small_divisors_are_held_at_the_floor():
    """JiT's loss: the error of x0 over t, and over 0.05 below."""
    t = jnp.array([1e-5, 0.02, 0.05, 0.5, 1.0])
    np.testing.assert_allclose(error_in(Linear(), X0, t), [400, 400, 400, 4, 1], rtol=1e-6)
    with pytest.raises(ValueError, match="floor"):
        error_in(Linear(), X0, t, floor=-0.1)


class Says:
    """One smooth function of (x, t, d) as the mean velocity, with a second output, said as a prediction."""

    def __init__(self, prediction):
        self.prediction = prediction

    def __call__(self, params, x, t, d, cond, key=None):
        t, d = (jnp.broadcast_to(0.0 if a is None else a, len(x))[:, None] for a in (t, d))
        u = params["a"] * jnp.sin(2 * x + t) + 0.3 * d * x
        x0 = x - t * u
        return self.prediction.encode(Linear(), t, x0, x0 + u)


def examples(objective, count=64):
    rng = np.random.default_rng(0)
    batch = Batch(jnp.asarray(rng.standard_normal((count, 2)), jnp.float32), None)
    objective = replace(objective, times=lambda process, key, n: jax.random.uniform(key, (n,), minval=0.1, maxval=0.9))
    return objective.draw(model(VELOCITY), batch, jax.random.key(0))


def model(prediction):
    return Model(Says(prediction), Linear(), prediction, capabilities=frozenset({INSTANT, JUMP}))


def value_and_grad(objective, prediction, drawn):
    net = {"a": jnp.array([0.5, -0.7])}
    params = {"net": net}
    state = State(jnp.int32(0), jnp.int32(0), params, {"0.9": params}, {"teacher": params}, None)
    return jax.value_and_grad(lambda p: objective(model(prediction), {"net": p}, state, drawn)[0])(net)


@pytest.mark.parametrize(
    ("objective", "prediction"),
    [
        (MeanFlow(power=0.0), V),
        (Shortcut(), V),
        pytest.param(PSD(power=0.0), V, marks=pytest.mark.slow),
        (MeanFlow(floor=100.0), X0),
        (IMM(), X0),
    ],
)
def test_jumps_are_compared_as_velocities(objective, prediction):
    drawn = examples(objective)
    found, want = (value_and_grad(objective, one, drawn) for one in (prediction, VELOCITY))
    np.testing.assert_allclose(found[0], want[0], rtol=1e-4)
    np.testing.assert_allclose(found[1]["a"], want[1]["a"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", [Shortcut(), MeanFlow(power=0.5), LSD(power=1.0), PSD(power=1.0), CTM(power=1.0)])
def test_x0_near_the_data_needs_bounded_errors(objective):
    with pytest.raises(ValueError, match="the velocity of an x0-prediction has errors of any size near t = 0"):
        value_and_grad(objective, X0, examples(objective))


def test_an_x0_that_is_wrong_near_the_data_has_a_bounded_gradient():
    """Both values of x0 are wrong by 1, so the velocity by 1 / t: the gradient is 2 / (2 + floor t^2) of each."""

    def wrong(params, x, t, d, cond, key=None):
        return params["a"] * jnp.ones_like(x)

    asked = Model(wrong, Linear(), X0, capabilities=frozenset({INSTANT, JUMP}))
    times = jnp.geomspace(1e-5, 0.99, 64)
    objective = MeanFlow(same=1.0, times=lambda process, key, n: times)
    drawn = objective.draw(asked, Batch(jnp.zeros((64, 2)), None), jax.random.key(0))
    loss, slope = jax.value_and_grad(lambda p: objective(asked, {"net": p}, None, drawn)[0])({"a": jnp.ones(2)})
    np.testing.assert_allclose(loss, np.mean(2 / (2 + 0.01 * times**2)), rtol=1e-5)
    np.testing.assert_allclose(slope["a"], np.full(2, np.mean(2 / (2 + 0.01 * times**2))), rtol=1e-5)


@pytest.mark.parametrize("prediction", [X0, V], ids=["x0", "v"])
def test_jumps_are_drawn_alike(prediction):
    params, table = {"a": jnp.array([0.5, -0.7])}, table_at(SAMPLERS["flow_map"], Linear(), 3)
    found, want = (draw(model(one).denoiser(params), table, range(16), (2,)) for one in (prediction, VELOCITY))
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.parametrize("prediction", [X0, EPS, V], ids=["x0", "eps", "v"])
def test_denoising_compared_as_a_velocity(prediction):
    def weight(process, prediction, t):
        return error_in(process, prediction, t, VELOCITY, 0.0)

    drawn = examples(Denoising())
    found = value_and_grad(Denoising(weight=weight), prediction, drawn)
    want = value_and_grad(Denoising(), VELOCITY, drawn)
    np.testing.assert_allclose(found[0], want[0], rtol=1e-4)
    np.testing.assert_allclose(found[1]["a"], want[1]["a"], rtol=1e-3, atol=1e-5)
