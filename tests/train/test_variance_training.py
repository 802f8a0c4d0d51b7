"""Second outputs trained to convergence against what they should be."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fewstep.diffusion import VP, Linear, oracles
from fewstep.diffusion.arrays import over
from fewstep.diffusion.calibrate import measure
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.networks import MLP, split
from fewstep.diffusion.posterior import divergence, large, posterior
from fewstep.diffusion.prediction import VELOCITY
from fewstep.diffusion.variance import NPR, SN, LearnedRange
from fewstep.train.data.split import Batch
from fewstep.train.objectives import Denoising, Hybrid, SecondMoment
from fewstep.train.objectives.times import uniform
from fewstep.train.optimizers import train_only

PROCESS = Linear()
MEANS, STDS, WEIGHTS = np.array([[-0.7, 0.5], [0.6, 0.6], [0.1, -0.6]]), np.array([0.15, 0.2, 0.25]), [0.3, 0.3, 0.4]
ORACLE = oracles.mixture(PROCESS, MEANS, STDS, WEIGHTS)
GAUSSIAN = oracles.gaussian(PROCESS, 0.2, np.array([0.3, 0.8]))


@dataclass(frozen=True)
class Around:
    """The exact mean of the data, the velocity off by so much, and a small network as the second output."""

    oracle: object = field(compare=False)
    head: object
    off: float = 0.0

    def __call__(self, params, x, t, d, cond, key=None):
        pred, at = self.oracle(x, t), over(t, x)
        mean = VELOCITY.encode(PROCESS, at, pred.x0, pred.eps) + self.off
        return jnp.concatenate([mean, self.head(params["variance"], x, t, None, cond)], -1)


def samples(key, n):
    """Of the mixture."""
    which, noise = jax.random.split(key)
    k = jax.random.choice(which, len(WEIGHTS), (n,), p=jnp.array(WEIGHTS))
    return jnp.array(MEANS)[k] + jnp.array(STDS)[k, None] * jax.random.normal(noise, (n, 2))


def trained(variance, objective, oracle=ORACLE, data=samples, off=0.0, steps=3000, batch=2048):
    """The denoiser whose second output was trained on the data."""
    head, params = split(MLP((2,), width=64, depth=2, rngs=nnx.Rngs(0)))
    model = Model(Around(oracle, head, off), PROCESS, VELOCITY, variance=variance)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    @jax.jit
    def run(params):
        def step(carry, key):
            params, state = carry
            for_data, for_examples = jax.random.split(key)
            examples = objective.draw(model, Batch(data(for_data, batch), None), for_examples)
            grads = jax.grad(lambda p: objective(model, {"net": {"variance": p}}, None, examples)[0])(params)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(jax.random.key(1), steps))[0][0]

    return model.denoiser({"variance": run(params)})


def noised(t, n=4000, seed=2):
    for_data, for_noise = jax.random.split(jax.random.key(seed))
    x0 = samples(for_data, n)
    return PROCESS.alpha(t) * x0 + PROCESS.sigma(t) * jax.random.normal(for_noise, x0.shape)


@pytest.fixture(scope="module")
def sn():
    return trained(SN(), SecondMoment(uniform))


@pytest.fixture(scope="module")
def npr():
    return trained(NPR(), SecondMoment(uniform))


TIMES = (0.1, 0.3, 0.6, 0.9)


def error(found, want):
    """Of the variances, root mean square over states, as a part of the mean variance."""
    return float(jnp.sqrt(jnp.mean((found - want) ** 2)) / jnp.mean(want))


@pytest.mark.slow
@pytest.mark.parametrize("t", TIMES)
def test_trained_to_convergence_both_tell_the_variance_of_each_element(sn, npr, t):
    x = noised(t)
    want = ORACLE(x, t).var
    flat = error(jnp.full_like(want, want.mean()), want)  # of one number for all, as Analytic-DPM has it
    for den in (sn, npr):
        assert error(den(x, t).var, want) < 0.08
        assert error(den(x, t).var, want) < 0.8 * flat


@pytest.mark.slow
def test_their_average_is_what_is_measured(sn, npr):
    lam = np.array([PROCESS.lam(t) for t in TIMES])
    analytic = measure(ORACLE, np.asarray(samples(jax.random.key(3), 8000)), lam)
    for t, value, doubt in zip(TIMES[::-1], analytic.residual, analytic.residual_error, strict=True):
        for den in (sn, npr):
            assert float(den(noised(t, 8000), t).var.mean()) == pytest.approx(value, abs=4 * doubt + 0.02 * value)


@pytest.mark.slow
def test_with_a_wrong_mean_npr_is_right_and_sn_is_not():
    off = 0.5  # of the velocity; t times that of x0
    wrong = {kind: trained(kind(), SecondMoment(uniform), off=off) for kind in (SN, NPR)}
    x, t = noised(0.6), 0.6
    want = ORACLE(x, t).var + (t * off) ** 2
    assert error(wrong[NPR](x, t).var, want) < 0.1
    assert error(wrong[SN](x, t).var, want) > 0.5


@pytest.mark.slow
def test_a_learned_range_is_the_optimum_of_its_chain():
    """On Gaussian data, where that is known."""

    def data(key, n):
        return 0.2 + jnp.array([0.3, 0.8]) * jax.random.normal(key, (n, 2))

    objective = Hybrid(uniform, steps=8)
    den = trained(LearnedRange(), objective, GAUSSIAN, data, steps=2000, batch=512)
    for t in (0.3, 0.5, 0.8):
        s = t - 1 / 8
        moved, inner = posterior(PROCESS, t, s)
        x = np.float32(PROCESS.alpha(t) * 0.2 + np.zeros((1, 2)))
        best = inner + moved**2 * np.asarray(GAUSSIAN(x, t).var)
        want = np.log(best / inner) / np.log(large(PROCESS, t, moved, inner) / inner)
        np.testing.assert_allclose(den(x, t).range, want, atol=0.05)


def test_the_bound_does_not_move_the_mean():
    """The gradient of the mean's last layer is that of plain denoising."""
    net, params = split(MLP((2,), width=16, depth=1, variance=True, rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda a: a + 0.1, params)
    model = Model(net, PROCESS, VELOCITY, variance=LearnedRange())
    plain = Model(lambda *a: net(*a)[:, :2], PROCESS, VELOCITY)
    batch = Batch(samples(jax.random.key(0), 16), None)

    def gradient(objective, model):
        examples = objective.draw(model, batch, jax.random.key(1))
        return jax.jit(jax.grad(lambda p: objective(model, {"net": p}, None, examples)[0]))(params)

    hybrid = gradient(Hybrid(uniform, share=1.0), model)
    only = gradient(Denoising(uniform), plain)
    for a, b in zip(jax.tree.leaves(hybrid["head"]), jax.tree.leaves(only["head"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert all(np.any(a) for a in jax.tree.leaves(hybrid["variance"]["head"]))


def test_the_bound_is_that_of_its_steps():
    """`steps` times the mean divergence of a step, in bits."""
    model = Model(Around(GAUSSIAN, lambda p, x, *_: 0 * x - 1), PROCESS, VELOCITY, variance=LearnedRange())
    objective, x0 = Hybrid(uniform, steps=4), np.float32([[0.3, -0.2], [1.0, 0.5]])
    examples = objective.draw(model, Batch(x0, None), jax.random.key(0))._replace(t=np.float32([0.75, 0.2]))
    _, told = objective(model, {"net": {"variance": None}}, None, examples)
    found = []
    for i, (t, s) in enumerate([(0.75, 0.5), (0.2, 0.1)]):  # the second has less than a quarter left: half of it
        moved, inner = posterior(PROCESS, t, s)
        x = PROCESS.alpha(t) * x0[i] + PROCESS.sigma(t) * np.asarray(examples.eps[i])
        found.append(divergence(moved, inner, inner, (x0[i] - np.asarray(GAUSSIAN(x[None], t).x0[0])) ** 2).mean())
    assert float(told["bound"]) == pytest.approx(4 * np.mean(found) / np.log(2), rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "variance", "words"),
    [
        (Denoising(), NPR(), "second_moment"),
        (SecondMoment(), None, "train.variance"),
        (SecondMoment(), LearnedRange(), "@NPR"),
        (Hybrid(), SN(), "@LearnedRange"),
    ],
)
def test_objectives_and_outputs_that_do_not_fit(objective, variance, words):
    net, params = split(MLP((2,), width=8, depth=1, variance=variance is not None, rngs=nnx.Rngs(0)))
    model = Model(net, PROCESS, VELOCITY, variance=variance)
    batch = Batch(np.zeros((2, 2), np.float32), None)

    def asked():
        return objective(model, {"net": params}, None, objective.draw(model, batch, jax.random.key(0)))

    with pytest.raises(ValueError, match=words):
        asked()


def test_only_one_part_moves():
    """Weight decay included, and there are no moments of the rest."""
    params = {"net": {"a": jnp.ones(3), "variance": {"b": jnp.ones(2)}}}
    optimizer = train_only(optax.adamw(0.1, weight_decay=0.5), "variance")
    state = optimizer.init(params)
    assert sorted(a.shape for a in jax.tree.leaves(state)) == [(), (2,), (2,)]
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(moved["net"]["a"], 1.0)
    assert (moved["net"]["variance"]["b"] < 1).all()


def test_the_bound_is_finite_at_the_ends_of_a_process():
    net, params = split(MLP((2,), width=8, depth=1, variance=True, rngs=nnx.Rngs(0)))
    for process in (Linear(), VP()):
        model = Model(net, process, VELOCITY, variance=LearnedRange())
        objective = Hybrid()
        examples = objective.draw(model, Batch(np.ones((2, 2), np.float32), None), jax.random.key(0))
        first, last = process.ends
        examples = examples._replace(t=jnp.float32([min(first, 1 - 1e-5), max(last, 1e-5)]))
        assert np.isfinite(objective(model, {"net": params}, None, examples)[0])
