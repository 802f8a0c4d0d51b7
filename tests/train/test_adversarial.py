"""The adversarial loss of DMD for Gaussian generators and data: value and gradient at the best discriminator."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_maps import MEAN, STATE, STD, batch
from flax import nnx

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.denoiser import ZERO, Model
from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D
from fewstep.diffusion.prediction import VELOCITY
from fewstep.train.checkpoints.warm_start import with_weights
from fewstep.train.data import points
from fewstep.train.data.semidiscrete import Semidiscrete
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import DMD, Example
from fewstep.train.objectives.distribution_matching import Draws
from fewstep.train.optimizers import adamw

DATA = {"mean": jnp.full(2, MEAN), "std": jnp.asarray(STD)}
OTHER = {"mean": jnp.array([0.5, -0.1]), "std": jnp.array([0.6, 0.5])}
TAUGHT = STATE._replace(frozen={"teacher": {"net": DATA}})
TIME = 0.4
# silu(z) - silu(-z) = z: the head returns its one feature.
IDENTITY = {
    "hidden": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.zeros(2)},
    "head": {"kernel": jnp.array([[1.0], [-1.0]]), "bias": jnp.zeros(1)},
}


def log_ratio(net, y, t):
    """log of the density of noised data minus that of noised images N(mean, std^2), at y (B, 2)."""
    logs = []
    for law in (DATA, net):
        mean, var = (1 - t)[:, None] * law["mean"], (1 - t)[:, None] ** 2 * law["std"] ** 2 + t[:, None] ** 2
        logs.append(-((y - mean) ** 2 / var + jnp.log(var)).sum(1) / 2)
    return logs[0] - logs[1]


@dataclass(frozen=True)
class Normal:
    """The velocity of data N(mean, std^2), and at t = 1 that with which x0 = mean + std x; its feature is the best
    logit."""

    def with_features(self, params, x, t, d, cond, key=None):
        pred = oracles.gaussian(Linear(), params["mean"], params["std"])(x, t)
        raw = jnp.where(t[:, None] == 1, x - (params["mean"] + params["std"] * x), pred.eps - pred.x0)
        return raw, log_ratio(params, x, t)[:, None]

    def __call__(self, *given):
        return self.with_features(*given)[0]


MODEL = Model(Normal(), Linear(), VELOCITY, capabilities=frozenset({ZERO}))


class Alone(DMD):
    """Its adversarial loss alone."""

    def match(self, x, real, fake, weight):
        return jnp.zeros(())


def drawn(count=50_000):
    """At one time, with noise that is one quantile of its law each, in random order."""
    rng, ranks = np.random.default_rng(0), (np.arange(count) + 0.5) / count
    normal = jax.scipy.special.ndtri(jnp.asarray(ranks, jnp.float32))
    z, eps, eps_of_score, x0 = (jnp.stack([normal[rng.permutation(count)] for _ in range(2)], axis=1) for _ in range(4))
    t, keys = jnp.full(count, TIME), jax.random.split(jax.random.key(0), count)
    score = Example(jnp.zeros_like(z), eps_of_score, t, None, keys)
    real = DATA["mean"] + DATA["std"] * x0
    return Draws(z[:, None], jnp.zeros(count, jnp.int32), eps, t, score, None, keys, real)


def params(net):
    return {"net": net, "score": net, "discriminator": IDENTITY}


def densities(net, nodes=400):
    """(y, p of noised data, p of noised images, cell) on a grid of the plane."""
    line = np.linspace(-4, 4, nodes, dtype=np.float32)
    y = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    laws = []
    for law in (DATA, net):
        mean, var = (1 - TIME) * law["mean"], (1 - TIME) ** 2 * law["std"] ** 2 + TIME**2
        laws.append(jnp.exp(-((y - mean) ** 2 / var + jnp.log(2 * jnp.pi * var)).sum(1) / 2))
    return jnp.asarray(y), *laws, (line[1] - line[0]) ** 2


@pytest.mark.slow
def test_the_loss_of_the_best_discriminator_tells_the_divergence():
    """2 log 2 - 2 JSD of noised data and noised images (Goodfellow et al. 2014, theorem 1)."""
    _, real, fake, cell = densities(OTHER)
    middle = (real + fake) / 2
    divergence = cell * jnp.sum(real * jnp.log(real / middle) + fake * jnp.log(fake / middle)) / 2
    _, metrics = Alone(adversarial=0.3)(MODEL, params(OTHER), TAUGHT, drawn())
    np.testing.assert_allclose(metrics["discriminator"], 2 * np.log(2) - 2 * divergence, rtol=2e-3)
    _, equal = Alone(adversarial=0.3)(MODEL, params(DATA), TAUGHT, drawn())
    np.testing.assert_allclose(equal["discriminator"], 2 * np.log(2), rtol=1e-5)


def test_the_gradient_of_the_generator():
    """That of the mean of softplus(-logit) over noised images, with the logit held fixed, times the weight."""

    def value(net):
        y, _, fake, cell = densities(net)
        at = jnp.full(len(y), TIME)
        return 0.3 * cell * jnp.sum(fake * jax.nn.softplus(-log_ratio(jax.lax.stop_gradient(net), y, at)))

    examples = drawn()

    def loss(net):
        return Alone(adversarial=0.3)(MODEL, params(OTHER) | {"net": net}, TAUGHT, examples)[0]

    found, want = jax.grad(loss)(OTHER), jax.grad(value)(OTHER)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-3), found, want)


def test_each_part_has_the_gradient_of_its_own_loss():
    """The generator none of the discriminator's, the discriminator none of the generator's."""
    objective = Alone(adversarial=0.3)
    examples = objective.draw(MODEL, batch(64), jax.random.key(0))
    net = params(OTHER) | {"score": {"mean": jnp.array([-0.4, 0.9]), "std": jnp.array([0.4, 1.5])}}
    of_all = jax.grad(lambda p: objective(MODEL, p, TAUGHT, examples)[0])(net)
    of_copies = jax.grad(lambda p: objective.loss_of_copies(MODEL, p, TAUGHT, examples)[0])(net)
    for group in ("score", "discriminator"):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), of_all[group], of_copies[group])
        assert optax.tree.norm(of_all[group]) > 0
    assert optax.tree.norm(of_copies["net"]) == 0 < optax.tree.norm(of_all["net"])


class Sized(DMD):
    """Its parameters tell the number of features."""

    uses_features = True

    def extra_params(self):
        return {"of_itself": jnp.zeros(3)}

    def feature_params(self, features, seed):
        return {"of_features": jnp.zeros(features)}


class Plain(nnx.Module):
    """A network without features."""

    def __init__(self, shape, classes, *, rngs):
        self.layer = nnx.Linear(2, 2, rngs=rngs)

    def __call__(self, x, t, d, cond, key=None):
        return self.layer(x)


def training(objective):
    network, data = partial(MLP, width=16, depth=1), partial(points, count=200, held_out=50)
    settings = {"steps": 60, "batch_size": 16, "ema": (0.9,), "optimizer": partial(adamw, warmup=2)}
    return prepare(Experiment(data, network, objective, **settings), data())


@pytest.mark.slow
def test_the_head_is_trained_with_the_fake_score():
    run = training(DMD(adversarial=0.1, ratio=2))
    weights = run.fresh().params["net"]
    state = with_weights(run.fresh(), weights)
    before = jax.tree.map(np.asarray, state.params["discriminator"])
    assert before["hidden"]["kernel"].shape == (16, 16)
    for k in range(3):
        state, metrics = run.step(state, run.batches.batch(k))
    assert 0 < metrics["discriminator"] < 5
    moved = jax.tree.map(lambda a, b: abs(np.asarray(a) - b).max(), state.params["discriminator"], before)
    assert min(jax.tree.leaves(moved)) > 0
    counts = optax.tree.get_all_with_path(state.opt_state.inner_states["score"], "count")
    assert {int(count) for _, count in counts} == {6}


NETWORKS = {
    "mlp": (partial(MLP, width=16, depth=1), (2,), 16),
    "unet": (partial(UNet, base=8, mult=(1, 3), blocks=1), (8, 8, 1), 24),
    "unet2d": (partial(UNet2D, channels=(8, 12), blocks=1, groups=4), (8, 8, 1), 12),
    "dit": (partial(DiT, width=24, depth=2, heads=2, patch=4), (8, 8, 1), 24),
    "of_a_user": (Plain, (2,), 0),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [0, 3])
def test_the_head_has_the_width_of_the_features(name, classes):
    network, shape, features = NETWORKS[name]
    experiment = Experiment(points, network, Sized(), adamw)
    extra = jax.eval_shape(partial(experiment.extra_params, shape, classes))
    assert extra["of_features"].shape == (features,)
    assert extra["of_itself"].shape == (3,)


def test_without_the_weight_nothing_is_added():
    objective = DMD()
    assert not objective.needs_images
    assert not objective.uses_features
    examples = objective.draw(MODEL, batch(64), jax.random.key(0))
    assert examples.images is None
    net = {"net": OTHER, "score": DATA}
    assert "discriminator" not in objective(MODEL, net, TAUGHT, examples)[1]


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"dmd\.adversarial requires a network with features"):
        DMD(adversarial=0.1).feature_params(0, seed=0)
    with pytest.raises(ValueError, match="is a"):
        DMD(adversarial=-1.0)
    with pytest.raises(ValueError, match=r"train\.coupling is for objectives that noise images"):
        Experiment(points, MLP, DMD(adversarial=0.1), optax.sgd, coupling=Semidiscrete())
