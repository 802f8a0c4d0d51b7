"""FD-loss: its gradient against finite differences and closed forms, its population, and what it trains."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refused import message

from fewstep.diffusion import Linear
from fewstep.diffusion.denoiser import INSTANT, JUMP, ZERO, Model
from fewstep.diffusion.networks import MLP
from fewstep.diffusion.prediction import VELOCITY
from fewstep.evaluation.distances import frechet as published
from fewstep.train.data import points as two_numbers
from fewstep.train.data.split import Batch
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives.frechet import Frechet, Measured, frechet
from fewstep.train.optimizers import adamw
from fewstep.train.state import State

D = 3


def covariances(seed=0):
    """Two of D x D, and a shift."""
    rng = np.random.default_rng(seed)
    one, other = (a @ a.T + 0.2 * np.eye(D) for a in rng.standard_normal((2, D, D)))
    return one, other, rng.standard_normal(D)


def root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values)) @ vectors.T


def test_it_is_the_distance_of_compare():
    rng = np.random.default_rng(0)
    drawn, real = rng.standard_normal((50, D)) @ covariances()[0] + 0.3, rng.standard_normal((60, D))
    with jax.enable_x64(True):
        found = frechet(drawn.mean(0) - real.mean(0), np.cov(drawn.T), jnp.asarray(root(np.cov(real.T))))
    assert float(found) == pytest.approx(published(drawn, real), rel=1e-10)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_its_gradient_is_that_of_finite_differences_and_of_the_transport_map(noise):
    """2 m, and I - T of the map T = R (R C R)^(-1/2) R that takes N(0, C) to N(0, R^2)."""
    c, s, m = covariances()
    r, wide = root(s + noise * np.eye(D)), c + noise * np.eye(D)
    with jax.enable_x64(True):
        value = partial(frechet, root=jnp.asarray(r), noise=noise)
        of_mean, of_covariance = jax.grad(value, (0, 1))(jnp.asarray(m), jnp.asarray(c))
        moved = np.random.default_rng(1).standard_normal((D, D))
        moved = moved + moved.T
        of_mean, of_covariance = np.asarray(of_mean), np.asarray(of_covariance)
        ends = [float(value(m + h * m[::-1], c + h * moved)) for h in (1e-5, -1e-5)]
    slope = (ends[0] - ends[1]) / 2e-5
    assert slope == pytest.approx(float(of_mean @ m[::-1] + (of_covariance * moved).sum()), rel=1e-7)
    np.testing.assert_allclose(of_mean, 2 * m, rtol=1e-12)
    transport = r @ np.linalg.inv(root(r @ wide @ r)) @ r
    np.testing.assert_allclose(transport @ wide @ transport, r @ r, rtol=1e-9)
    np.testing.assert_allclose(of_covariance, np.eye(D) - transport, rtol=1e-9, atol=1e-9)


def test_its_gradient_is_bounded_where_a_variance_vanishes():
    """In float32, of features of which one is constant and two are the same, or all drawn ones are; 0 where both laws
    are equal."""
    s = np.diag([1.0, 0.25, 0.0, 0.25])
    s[1, 3] = s[3, 1] = 0.25
    kind = Measured("four", "", lambda params, x: x, (), np.zeros(4), s)
    real = Frechet(known=(kind,)).memory()["features"]["four"]["real"]
    value = jax.grad(lambda c: frechet(jnp.zeros(4), c, real["root"], real["noise"]))
    np.testing.assert_allclose(value(jnp.float32(s)), 0, atol=2e-3)
    flat = np.asarray(value(jnp.zeros((4, 4))))
    assert np.isfinite(flat).all()
    np.testing.assert_allclose(np.diag(np.linalg.eigvalsh(flat)).min(), 1 - np.sqrt(1.001 / 0.001), rtol=1e-2)


# --- the population


def queued(objective, batches):
    """The mean and second moment after each of the batches, and what is kept."""
    drawn, found = objective.memory()["features"]["points"]["drawn"], []
    for count, features in enumerate(batches):
        mean, second, drawn = objective.moments(drawn, jnp.int32(count), jnp.asarray(features))
        found.append((mean, second))
    return found


def points(mean=np.zeros(2), covariance=np.eye(2)):
    return Measured("points", "", lambda params, x: x, (), mean, covariance)


def test_a_queue_is_of_the_last_batches():
    rng = np.random.default_rng(0)
    batches = np.float32(rng.standard_normal((5, 4, 2)) + 0.5)
    for k, (mean, second) in enumerate(queued(Frechet(queue=12, known=(points(),)), batches)):
        last = batches[max(0, k - 2) : k + 1].reshape(-1, 2)
        np.testing.assert_allclose(mean, last.mean(0), rtol=1e-5)
        np.testing.assert_allclose(second, last.T @ last / len(last), rtol=1e-5)


def test_an_average_is_one_of_all_batches_until_its_decay():
    batches = np.float32(np.random.default_rng(0).standard_normal((9, 4, 2)))
    found = queued(Frechet(decay=0.75, known=(points(),)), batches)
    for k in range(4):
        np.testing.assert_allclose(found[k][0], batches[: k + 1].mean((0, 1)), atol=1e-6)
    average = found[3][0]
    for k in range(4, 9):
        average = 0.75 * average + 0.25 * batches[k].mean(0)
        np.testing.assert_allclose(found[k][0], average, atol=1e-6)


@pytest.mark.parametrize("options", [{"decay": 0.9}, {"queue": 40}])
def test_the_gradient_is_that_of_the_batch_at_the_moments_of_the_population(options):
    rng, objective = np.random.default_rng(0), Frechet(known=(points(),), **options)
    before, batch = np.float32(rng.standard_normal((3, 8, 2)) + 1), jnp.float32(rng.standard_normal((8, 2)))
    drawn = objective.memory()["features"]["points"]["drawn"]
    for count, features in enumerate(before):
        drawn = objective.moments(drawn, jnp.int32(count), jnp.asarray(features))[2]

    def loss(features):
        mean, second, _ = objective.moments(drawn, jnp.int32(3), features)
        return frechet(mean, second - jnp.outer(mean, mean), jnp.eye(2))

    whole = np.concatenate([*before, batch])
    transport = np.linalg.inv(root(np.cov(whole.T, bias=True)))
    expected = (2 * whole.mean(0) + 2 * (batch - whole.mean(0)) @ (np.eye(2) - transport)) / 8
    np.testing.assert_allclose(jax.grad(loss)(batch), expected, rtol=1e-3, atol=1e-4)


# --- the objective


def scaled(params, x, t, d, cond, key=None):
    """Images a x + b from noise x at t = 1, in one call."""
    return x - (params["a"] * x + params["b"])


@pytest.mark.parametrize("learned", [JUMP, ZERO, INSTANT])
def test_the_gradient_of_a_gaussian_generator_is_the_closed_form(learned):
    """Of |b - m|^2 + sum (|a_i| - s_i)^2, where noise of `ridge` is added to both variances."""
    m, s, ridge = np.array([0.2, -0.3]), np.array([0.5, 1.2]), 1e-3
    objective = Frechet(learned=learned, ridge=ridge, known=(points(m, np.diag(s**2)),))
    model = Model(scaled, Linear(), VELOCITY, capabilities=objective.capabilities)
    a, b = np.array([0.8, 0.9]), np.array([0.0, 0.1])
    state = State(jnp.int32(0), jnp.int32(0), {}, {}, {}, None, objective.memory())
    examples = objective.draw(model, Batch(np.zeros((100_000, 2), np.float32), None), jax.random.key(0))

    def loss(net):
        value, metrics, memory = objective(model, {"net": net}, state, examples)
        return value, (metrics, memory)

    net = {"a": jnp.float32(a), "b": jnp.float32(b)}
    (value, (metrics, memory)), found = jax.value_and_grad(loss, has_aux=True)(net)
    noise, wide = ridge * s.max() ** 2, lambda scale: np.sqrt(scale**2 + ridge * s.max() ** 2)
    distance, total = ((b - m) ** 2 + (wide(a) - wide(s)) ** 2).sum(), (s**2 + noise).sum()
    assert float(metrics["frechet_points"]) == pytest.approx(distance, rel=0.03)
    assert float(value) == pytest.approx(distance / total, rel=0.03)
    np.testing.assert_allclose(found["b"] * total, 2 * (b - m), atol=0.02)
    np.testing.assert_allclose(found["a"] * total, 2 * (wide(a) - wide(s)) * a / wide(a), atol=0.03)
    assert int(memory["count"]) == 1


def test_seeds_are_new_at_each_step_and_labels_are_those_of_the_data():
    objective = Frechet(known=(points(),))
    model = Model(scaled, Linear(), VELOCITY, classes=3, capabilities=objective.capabilities)
    batch = Batch(np.zeros((6, 2), np.float32), np.arange(6, dtype=np.int32) % 3)
    first, second = (objective.draw(model, batch, jax.random.key(k)) for k in range(2))
    np.testing.assert_array_equal(first.label, batch.label)
    assert not {*np.asarray(first.seeds)} & {*np.asarray(second.seeds)}
    assert abs(first.start - second.start).min() > 0


@pytest.mark.slow
def test_a_step_that_is_not_finite_leaves_the_moments_as_they_are():
    data = partial(two_numbers, count=100, held_out=20)
    network, objective = partial(MLP, width=8, depth=1), Frechet(learned="instant", known=(points(),))
    run = prepare(Experiment(data, network, objective, adamw, steps=3, batch_size=8), data())
    state, _ = run.step(run.fresh(), run.batches.batch(0))
    before, good = jax.device_get((state.memory, state.params))
    state, _ = run.step(state._replace(params=jax.tree.map(lambda a: np.nan * a, good)), run.batches.batch(1))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.memory), before)
    assert int(state.nonfinite_steps) == 1
    state, _ = run.step(state._replace(params=good), run.batches.batch(2))
    assert int(state.memory["count"]) == 2


def test_what_cannot_be():
    assert "fewstep train" in message(lambda: Frechet().memory())
    assert "Frechet.learned is 'jump' or 'zero' or 'instant'" in message(lambda: Frechet(learned="all"))
    assert "Frechet.decay" in message(lambda: Frechet(decay=1.0))
    assert "queue = 10 is not a multiple of the batch of 4" in message(
        lambda: queued(Frechet(queue=10, known=(points(),)), np.zeros((1, 4, 2), np.float32))
    )
