"""The loss of denoising, with and without the dispersion of features."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fewstep.diffusion import Linear
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.networks import MLP
from fewstep.diffusion.prediction import VELOCITY
from fewstep.train.data import points
from fewstep.train.data.split import Batch
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import Denoising
from fewstep.train.objectives.denoising import dispersion


def longhand(features, temperature):
    pairs = [np.exp(-np.mean((a - b) ** 2) / temperature) for a in features for b in features]
    return np.log(np.mean(pairs))


def test_dispersion_of_features():
    features = np.random.default_rng(0).standard_normal((7, 5))
    for temperature in (0.1, 0.5, 2.0):
        np.testing.assert_allclose(dispersion(features, temperature), longhand(features, temperature), rtol=1e-5)
    assert dispersion(jnp.ones((4, 3)), 0.5) == pytest.approx(0, abs=1e-6)  # the most: all are the same
    assert dispersion(1e3 * features, 0.5) == pytest.approx(-np.log(7), rel=1e-5)  # the least: all are far apart


class Linear2:
    """u = a x, with the features f x."""

    def with_features(self, params, x, t, d, cond, key=None):
        return params["a"] * x, params["f"] * x


def test_the_loss_has_both_parts():
    model = Model(Linear2(), Linear(), VELOCITY)
    rng = np.random.default_rng(0)
    batch = Batch(jnp.asarray(rng.standard_normal((32, 2)), jnp.float32), None)
    params = {"net": {"a": jnp.asarray(0.3), "f": jnp.asarray(0.7)}}
    objective = Denoising(dispersive=0.25, temperature=0.4)
    drawn = objective.draw(model, batch, jax.random.key(0))
    t = np.asarray(drawn.t)[:, None]
    x, v = (1 - t) * drawn.x0 + t * drawn.eps, drawn.eps - drawn.x0
    error, spread = np.mean((0.3 * x - v) ** 2), longhand(0.7 * np.asarray(x), 0.4)
    loss, metrics = objective(model, params, None, drawn)
    np.testing.assert_allclose(metrics["dispersion"], spread, rtol=1e-4)
    np.testing.assert_allclose(loss, error + 0.25 * spread, rtol=1e-4)
    plain, none = Denoising()(model, params, None, drawn)
    np.testing.assert_allclose(plain, error, rtol=1e-5)
    assert none == {}
    slope = jax.grad(lambda p: objective(model, {"net": p}, None, drawn)[0])(params["net"])
    assert slope["f"] < 0  # features that are larger are further apart


def test_it_is_of_whole_batches():
    data, network = partial(points, count=200, held_out=50), partial(MLP, width=16, depth=2)
    options = {"steps": 10, "batch_size": 16}
    with pytest.raises(ValueError, match=r"loss of this objective is of a whole batch: set train\.accumulate = 1"):
        Experiment(data, network, Denoising(dispersive=0.5), optax.sgd, accumulate=2, **options)
    run = prepare(
        Experiment(data, network, Denoising(dispersive=0.5), lambda steps: optax.adam(1e-3), **options), data()
    )
    state = run.fresh()
    for k in range(3):
        state, metrics = run.step(state, run.batches.batch(k))
    assert -np.log(16) < metrics["dispersion"] < 0


def test_it_needs_features():
    class Plain(Linear2):
        def with_features(self, *given):
            return super().with_features(*given)[0], None

    model = Model(Plain(), Linear(), VELOCITY)
    objective = Denoising(dispersive=0.5)
    drawn = objective.draw(model, Batch(jnp.ones((4, 2)), None), jax.random.key(0))
    with pytest.raises(ValueError, match=r"denoising\.dispersive requires a network with features"):
        objective(model, {"net": {"a": jnp.ones(()), "f": jnp.ones(())}}, None, drawn)
