"""Improved MeanFlow: guidance as an input of the network, and its second output."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_maps import PARAMS, STATE, STD, batch

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.denoiser import INSTANT, JUMP, Model
from fewstep.diffusion.networks import MLP
from fewstep.diffusion.prediction import VELOCITY
from fewstep.diffusion.variance import NPR, Auxiliary
from fewstep.train.data import points
from fewstep.train.experiment import Experiment
from fewstep.train.objectives import ImprovedMeanFlow
from fewstep.train.objectives.times import uniform
from fewstep.train.optimizers import adamw

MEANS = np.array([-0.4, 0.7, 0.2], np.float32)  # of two classes, and of what the network knows without a label
SHAPE = np.float32([1.0, -0.5])


class Guided:
    """The mean velocity and the velocity of Gaussian data with a mean for each class; guidance of scale w moves it to
    null + w (mean - null).  params["a"] adds a little."""

    def __call__(self, params, x, t, d, cond, key=None):
        scale = jnp.ones(len(x)) if cond.guidance is None else cond.guidance[:, 0]
        mean = MEANS[2] + scale * (jnp.asarray(MEANS)[cond.label] - MEANS[2])
        data = oracles.gaussian(Linear(), mean[:, None] * SHAPE, STD)
        u, v = (pred.eps - pred.x0 for pred in (data(x, t, t - d), data(x, t)))
        more = jnp.tensordot(params["a"], jnp.stack([jnp.ones_like(x), x, x * d[:, None], x * scale[:, None]]), 1)
        return jnp.concatenate([u + more, v - u], axis=-1)


MODEL = Model(
    Guided(), Linear(), VELOCITY, classes=2, capabilities=frozenset({INSTANT, JUMP}), variance=Auxiliary(), guided=4.0
)


def examples(objective, n=3000, full=True):
    """Of both classes, with the conditional means of x0 and eps in their place; guided at all times if `full`."""
    label = np.arange(n, dtype=np.int32) % 2
    z = np.random.default_rng(0).standard_normal((n, 2))
    image = np.float32(MEANS[label][:, None] * SHAPE + STD * z)
    drawn = objective.draw(MODEL, batch(n)._replace(image=image, label=label), jax.random.key(0))
    x = (1 - drawn.t[:, None]) * drawn.x0 + drawn.t[:, None] * drawn.eps
    pred = oracles.gaussian(Linear(), MEANS[label][:, None] * SHAPE, STD)(x, drawn.t)
    guidance = drawn.guidance.at[:, 1:].set(jnp.array([0.0, 1.0])) if full else drawn.guidance
    return drawn._replace(x0=pred.x0, eps=pred.eps, guidance=guidance)


def gradient(objective, at=jnp.zeros(4), **options):
    given = examples(objective, **options)
    return np.asarray(jax.jit(jax.grad(lambda a: objective(MODEL, {"net": {"a": a}}, STATE, given)[0]))(at))


def objective(**options):
    return ImprovedMeanFlow(uniform, **{"label_drop": 0.0, "power": 0.0, "same": 0.25, "guidance": 4.0} | options)


def test_no_gradient_at_the_exact_guided_map():
    """Guidance of Gaussians with one covariance is exact: a Gaussian with another mean."""
    assert abs(gradient(objective())).max() < 1e-4
    for k in range(4):
        assert abs(gradient(objective(), at=jnp.zeros(4).at[k].set(0.1))[k]) > 1e-3, k


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_other_strengths_of_guidance_have_one(factor, monkeypatch):
    """Of 1 - 1 / w: none of it, half and twice as much."""
    guide = ImprovedMeanFlow.guide

    def spoiled(self, model, params, given):
        v, (guided, own) = given.eps - given.x0, guide(self, model, params, given)
        return v + factor * (guided - v), own

    monkeypatch.setattr(ImprovedMeanFlow, "guide", spoiled)
    assert abs(gradient(objective())).max() > 1e-2


def test_scales_and_intervals():
    """The density of the scale is 1 / w, and intervals begin in the half near the data and end in the other."""
    scale, low, high = np.asarray(examples(objective(), full=False).guidance).T
    assert (scale >= 1).all()
    assert (scale <= 4).all()
    assert np.log(scale).mean() == pytest.approx(np.log(4) / 2, abs=0.03)
    assert low.min() < 0.02
    assert 0.48 < low.max() <= 0.5 <= high.min() < 0.52
    assert high.max() > 0.98


@pytest.mark.slow
def test_where_guidance_applies():
    """Not beyond its interval, not at scale 1, and not where the label is dropped."""
    kind = objective()
    given = examples(kind, n=400, full=False)
    given = given._replace(label=jnp.where(jnp.arange(400) % 5 == 0, 2, given.label))
    given = given._replace(guidance=given.guidance.at[::7, 0].set(1.0))
    v, params = given.eps - given.x0, {"net": {"a": jnp.zeros(4)}}
    guided, _ = kind.guide(MODEL, params, given)
    moved = np.abs(np.asarray(guided - v)).max(1) > 1e-4
    scale, low, high = np.asarray(given.guidance).T
    t = np.asarray(given.t)
    on = (low < t) & (t < high) & (np.asarray(given.label) != 2) & (scale > 1.02)
    assert 50 < on.sum() < 350
    np.testing.assert_array_equal(moved, on)


@pytest.mark.slow
def test_the_second_output_learns_the_velocity_and_leaves_the_first_alone():
    """Of examples of s < t: its gradient does not reach U, whose own is that of the loss without it."""

    def network(params, x, t, d, cond, key=None):
        return jnp.concatenate([params["u"] + 0 * x, params["h"] + 0 * x], axis=-1)

    asked = replace(MODEL, network=network, classes=0, guided=0.0)
    kind = ImprovedMeanFlow(uniform, power=0.0, same=0.0)
    given = kind.draw(asked, batch(256), jax.random.key(0))
    net = {"u": jnp.float32(0.3), "h": jnp.float32(-0.2)}
    found = jax.grad(lambda net: kind(asked, {"net": net}, STATE, given)[0])(net)
    v = np.asarray(given.eps - given.x0)
    assert found["h"] == pytest.approx(2 * (0.1 - v).sum(1).mean(), rel=1e-4)
    assert found["u"] == pytest.approx(2 * (0.3 - v).sum(1).mean(), rel=1e-4)


def experiment(data=partial(points, count=200, held_out=50), **options):
    return Experiment(data, partial(MLP, width=16, depth=1), ImprovedMeanFlow(guidance=3.0), adamw, **options)


def test_the_network_gets_what_the_objective_needs():
    model, shapes = experiment().abstract((2,), 2)
    assert model.guided == 3.0
    assert isinstance(model.variance, Auxiliary)
    assert "variance" in shapes
    assert "guidance" in shapes["conditioning"]
    den = model.denoiser(experiment().params((2,), 2))
    assert den(np.zeros((4, 2), np.float32), 0.5).var is None  # the second output is for training


def test_a_variance_besides_is_refused():
    with pytest.raises(ValueError, match="a second output of its own"):
        experiment(variance=NPR())


def test_guidance_needs_labels():
    kind = objective()
    asked = replace(MODEL, classes=0)
    given = kind.draw(asked, batch(8), jax.random.key(0))
    with pytest.raises(ValueError, match="guidance requires labels"):
        kind(asked, PARAMS, STATE, given)
