"""SiD and DMD for Gaussian generators and Gaussian data: their gradients are those of divergences in closed form."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_maps import MEAN, STATE, STD, batch

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.denoiser import ZERO, Cond, Model
from fewstep.diffusion.networks import MLP
from fewstep.diffusion.prediction import VELOCITY
from fewstep.samplers import SAMPLERS, table_at
from fewstep.samplers.start import unit_noise
from fewstep.train.data import digits
from fewstep.train.data.semidiscrete import Semidiscrete
from fewstep.train.experiment import Experiment
from fewstep.train.objectives import DMD, Denoising, Example, SiD
from fewstep.train.objectives.distribution_matching import SEEDS, Draws
from fewstep.train.objectives.times import karras_times


@dataclass(frozen=True)
class Normal:
    """The velocity of data N(mean, std^2), and at t = 1 that with which x0 = mean + std x."""

    def __call__(self, params, x, t, d, cond, key=None):
        pred = oracles.gaussian(Linear(), params["mean"], params["std"])(x, t)
        return jnp.where(t[:, None] == 1, x - (params["mean"] + params["std"] * x), pred.eps - pred.x0)


MODEL = Model(Normal(), Linear(), VELOCITY, capabilities=frozenset({ZERO}))
DATA = {"mean": jnp.full(2, MEAN), "std": jnp.asarray(STD)}
OTHER = {"mean": jnp.array([0.5, -0.1]), "std": jnp.array([0.6, 0.5])}
STARTS = [OTHER, {"mean": jnp.array([-0.4, 0.9]), "std": jnp.array([0.1, 1.5])}, DATA | {"std": jnp.array([1.0, 0.2])}]
TAUGHT = STATE._replace(frozen={"teacher": {"net": DATA}})
TIMES = np.linspace(0.1, 0.9, 9, dtype=np.float32)


def every_sign(times=TIMES):
    """Draws whose means are exact expectations of squares of noise: each of z and eps is 1 or -1, equally often."""
    t, z, eps = (jnp.asarray(a, jnp.float32).ravel() for a in np.meshgrid(times, [-1, 1], [-1, 1]))
    z, eps, keys = (jnp.stack([a, a], 1) for a in (z, eps)), None, jax.random.split(jax.random.key(0), len(t))
    z, eps = z
    score = Example(jnp.zeros_like(eps), eps, t, None, keys)
    return Draws(z[:, None], jnp.zeros(len(t), jnp.int32), eps, t, score, None, keys)


def gradient(objective, net, score=None, examples=None):
    """Of the generator; the fake score is exact by default."""
    examples = every_sign() if examples is None else examples

    def loss(net):
        return objective(MODEL, {"net": net, "score": score}, TAUGHT, examples)[0]

    score = net if score is None else score
    return jax.jit(jax.grad(loss))(net)


def assert_same(found, want, **options):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **options), found, want)


def divergence(net, t):
    """KL(p_t || q_t) of N(mean, std^2) and the data, an element."""
    ours, theirs = (((1 - t) * p["mean"], (1 - t) ** 2 * p["std"] ** 2 + t**2) for p in (net, DATA))
    squares = (ours[1] + (ours[0] - theirs[0]) ** 2) / theirs[1]
    return jnp.mean(jnp.log(theirs[1] / ours[1]) + squares - 1) / 2


def fisher(net, t):
    """E |a - b|^2 of the exact denoisers a of the data and b of N(mean, std^2), at states of the latter, an element."""
    alpha, var = 1 - t, (1 - t) ** 2 * net["std"] ** 2 + t**2
    slopes = [alpha * p["std"] ** 2 / (alpha**2 * p["std"] ** 2 + t**2) for p in (DATA, net)]
    ends = [p["mean"] * (1 - alpha * slope) for p, slope in zip((DATA, net), slopes, strict=True)]
    slope, end = slopes[0] - slopes[1], ends[0] - ends[1]
    return jnp.mean(slope**2 * var + (slope * alpha * net["mean"] + end) ** 2)


def averaged(function, net):
    return jax.grad(lambda net: sum(function(net, t) for t in TIMES) / len(TIMES))(net)


class Likelihood(DMD):
    """Its weight is that of the KL divergence."""

    def weight(self, model, x, real, t):
        return ((1 - t) / t) ** 2


class Constant(SiD):
    def weight(self, model, x, real, t):
        return jnp.ones_like(t)


@pytest.mark.parametrize("net", STARTS)
def test_dmd_is_the_gradient_of_the_kl_divergence(net):
    assert_same(gradient(Likelihood(), net), averaged(divergence, net), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("net", STARTS)
def test_twice_sid_is_the_gradient_of_the_fisher_divergence(net):
    found = jax.tree.map(lambda a: 2 * a, gradient(Constant(alpha=0.5), net))
    assert_same(found, averaged(fisher, net), rtol=1e-3, atol=1e-5)


class NotThroughStates(Constant):
    def match(self, x, real, fake, weight):
        return super().match(x, jax.lax.stop_gradient(real), jax.lax.stop_gradient(fake), weight)


class WithoutIdentity(Constant):
    """The divergence itself, half of it, with the fake score held fixed."""

    def match(self, x, real, fake, weight):
        return jnp.mean((real - fake) ** 2) / 2


class OtherSign(Constant):
    def match(self, x, real, fake, weight):
        return super().match(x, fake, real, weight)


@pytest.mark.parametrize("objective", [NotThroughStates, WithoutIdentity, OtherSign])
def test_wrong_forms_of_sid_have_another_gradient(objective):
    found, want = gradient(objective(alpha=0.5), OTHER), averaged(fisher, OTHER)
    apart = jax.tree.map(lambda a, b: jnp.linalg.norm(2 * a - b) / jnp.linalg.norm(b), found, want)
    assert min(jax.tree.leaves(apart)) > 0.05


def test_the_normaliser_and_another_weight_change_the_gradient_of_dmd():
    found, want = gradient(DMD(), OTHER), averaged(divergence, OTHER)
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: abs(a - b).max() / abs(b).max(), found, want))) > 0.3


@pytest.mark.parametrize("objective", [SiD(), DMD(), SiD(alpha=0.5), SiD(calls=2), DMD(calls=3)])
def test_no_gradient_at_the_law_of_the_data(objective):
    """For any draw, at the defaults: the two denoisers are equal."""
    examples = objective.draw(MODEL, batch(512), jax.random.key(0))
    for leaf in jax.tree.leaves(gradient(objective, DATA, DATA, examples)):
        assert abs(leaf).max() < 1e-4


@pytest.mark.parametrize("objective", [SiD(), pytest.param(SiD(alpha=1.0), marks=pytest.mark.slow), DMD()])
@pytest.mark.parametrize("net", STARTS)
def test_generators_descend_to_the_data(objective, net):
    """At the defaults, with the exact fake score of each step."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 200))

    def step(carry, key):
        net, state = carry
        examples = objective.draw(MODEL, batch(512), key)
        grads = jax.grad(lambda p: objective(MODEL, {"net": p, "score": net}, TAUGHT, examples)[0])(net)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(net, updates), state), None

    keys = jax.random.split(jax.random.key(1), 200)
    (found, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((net, optimizer.init(net)))
    assert_same(found, DATA, atol=0.02)


def quadrature(net, t, nodes=48):
    """(x, y, weights) of images N(mean, std^2) and noised ones, whose weighted sums are expectations."""
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    z, eps = (jnp.asarray(a.ravel()[:, None], jnp.float32) for a in np.meshgrid(at, at))
    x = net["mean"] + net["std"] * z
    return x, (1 - t) * x + t * eps, jnp.asarray(np.outer(weight, weight).ravel()[:, None] / (2 * np.pi), jnp.float32)


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(
    "function", [jnp.ones_like, lambda y: y, lambda y: y**2, lambda y: jnp.sin(3 * y), lambda y: jnp.exp(-(y**2))]
)
def test_the_score_identity(function, t):
    """E g(y) (D(y) - x) = 0 for the denoiser of these images, and not for that of others."""
    x, y, weights = quadrature(OTHER, t)
    own, real = (MODEL.denoiser(net)(y, jnp.full(len(y), t)).x0 for net in (OTHER, DATA))
    assert abs(jnp.sum(weights * function(y) * (own - x), 0)).max() < 1e-5
    assert abs(jnp.sum(weights * function(y) * (real - x), 0)).max() > 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.2])
def test_the_value_of_sid_is_a_share_of_the_divergence(alpha):
    """(1 - alpha) E |a - b|^2, by the identity."""
    x, y, weights = quadrature(OTHER, 0.4)
    own, real = (MODEL.denoiser(net)(y, jnp.full(len(y), 0.4)).x0 for net in (OTHER, DATA))
    found = SiD(alpha=alpha).match(x, real, own, len(x) * weights)
    np.testing.assert_allclose(found, (1 - alpha) * fisher(OTHER, 0.4), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("objective", [pytest.param(SiD(), marks=pytest.mark.slow), DMD()])
def test_each_network_has_the_gradient_of_its_own_loss(objective):
    """The fake score that of denoising the generator's images, and the reported loss is its."""
    examples = objective.draw(MODEL, batch(64), jax.random.key(0))
    net, score = OTHER, STARTS[1]
    found, grads = jax.value_and_grad(lambda p: objective(MODEL, p, TAUGHT, examples)[0])({"net": net, "score": score})
    images = net["mean"] + net["std"] * examples.noise[:, 0]
    examples = examples.score._replace(x0=images)
    want = jax.value_and_grad(lambda p: Denoising()(MODEL, {"net": p}, TAUGHT, examples)[0])(score)
    np.testing.assert_allclose(found, want[0], rtol=1e-5)
    assert_same(grads["score"], want[1], rtol=1e-4, atol=1e-6)


def test_metrics_tell_a_collapse():
    examples = every_sign()

    def told(net, score):
        return SiD()(MODEL, {"net": net, "score": score}, TAUGHT, examples)[1]

    noise = unit_noise(SEEDS, (2,))
    want = np.mean((STD * (noise[::2] - noise[1::2])) ** 2) / 2
    np.testing.assert_allclose(told(DATA, DATA)["diversity"], want, rtol=1e-4)
    assert told(DATA, DATA)["apart"] < 1e-10
    one = DATA | {"std": jnp.zeros(2)}
    assert told(one, one)["diversity"] < 1e-10
    assert told(one, one)["apart"] > 0.01


def test_no_image_of_the_data_is_used():
    objective, params = SiD(calls=2), {"net": OTHER, "score": OTHER}
    found = [
        objective(MODEL, params, TAUGHT, objective.draw(MODEL, batch(64, seed), jax.random.key(0)))[0]
        for seed in (0, 1)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_images_are_those_of_the_sampler(calls):
    """Of `consistency` in as many calls, with the same noise; and of its earlier calls."""
    objective = SiD(calls=calls)
    examples = objective.draw(MODEL, batch(64), jax.random.key(0))
    assert sorted(set(np.asarray(examples.call).tolist())) == list(range(calls))
    den, table = MODEL.denoiser(OTHER), table_at(SAMPLERS["consistency"], Linear(), calls)
    x, found = examples.noise[:, 0], objective.generate(MODEL, OTHER, examples)
    for i in range(calls):
        x0 = den(x, jnp.full(64, table.t[i], jnp.float32), jnp.zeros(64), Cond()).x0
        rows = np.asarray(examples.call) == i
        np.testing.assert_allclose(found[rows], x0[rows], rtol=1e-4, atol=1e-5)
        if i + 1 < calls:
            x = table.x0[i] * x0 + table.noise[i] * examples.noise[:, i + 1]


def test_labels_are_those_of_the_batch():
    labels = np.arange(64, dtype=np.int32) % 3
    drawn = SiD().draw(replace(MODEL, classes=3), batch(64)._replace(label=labels), jax.random.key(0))
    np.testing.assert_array_equal(drawn.label, labels)
    np.testing.assert_array_equal(drawn.score.label, labels)


def test_times_are_a_part_of_the_grid_of_karras():
    t = np.asarray(karras_times(Linear(), jax.random.key(0), 1000))
    levels = np.sort((t / (1 - t)) ** (1 / 7))
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    np.testing.assert_allclose(levels, np.interp(np.linspace(0, 0.8, 1000), [0, 1], [low, high]), atol=2e-3)


def test_what_cannot_be():
    for wrong in ({"low": 3.0, "high": 2.0}, {"first": 0.8, "last": 0.8}):
        with pytest.raises(ValueError, match="needs low < high and first < last"):
            karras_times(Linear(), jax.random.key(0), 4, **wrong)
    with pytest.raises(ValueError, match=r"score_optimizer must be an optax transformation"):
        SiD(score_optimizer=lambda steps: None).optimizer(optax.sgd(0.1), 10)
    with pytest.raises(ValueError, match=r"train\.coupling is for objectives that noise images"):
        Experiment(digits, MLP, SiD(), optax.sgd, coupling=Semidiscrete())
    for wrong in ({"alpha": -1.0}, {"calls": 0}, {"ratio": 0}):
        with pytest.raises(ValueError, match="is a"):
            SiD(**wrong)
