"""Objectives of jumps at the exact flow map of Gaussian data: nothing left to learn there."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import Cond, Linear, oracles
from diffusion.denoiser import INSTANT, JUMP, ZERO, Model
from diffusion.prediction import VELOCITY, V
from diffusion.process import VP
from train.data.split import Batch
from train.objectives import Consistency, MeanFlow, Shortcut
from train.objectives.times import logit_normal, uniform
from train.state import State

MEAN, STD = 0.2, np.array([0.3, 0.8], np.float32)
GAUSSIAN = oracles.gaussian(Linear(), MEAN, STD)


@dataclass(frozen=True)
class Exact:
    """The mean velocity of Gaussian data, plus a little of smooth functions of what the network sees."""

    def __call__(self, params, x, t, d, cond, key=None):
        d = jnp.zeros_like(t) if d is None else d
        pred = GAUSSIAN(x, t, t - d)
        told = jnp.stack([jnp.ones_like(x), x, jnp.broadcast_to(t[:, None], x.shape), jnp.sin(3 * x) * d[:, None]])
        return pred.eps - pred.x0 + jnp.tensordot(params["a"], told, 1)


class ToTheData(Exact):
    """The jump to t = 0, whatever is asked."""

    def __call__(self, params, x, t, d, cond, key=None):
        return super().__call__(params, x, t, t, cond)


def model(*answers):
    return Model(Exact(), Linear(), VELOCITY, answers=frozenset(answers))


PARAMS = {"net": {"a": jnp.zeros(4)}}
STATE = State(jnp.int32(0), jnp.int32(0), PARAMS, {"0.9": PARAMS}, {}, None)


def batch(n, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(np.float32(MEAN + STD * rng.standard_normal((n, 2))), None)


def gradients(objective, asked, n=4000, state=STATE, **changes):
    """Of every example alone, (n, 4)."""
    examples = objective.draw(asked, batch(n), jax.random.key(0))._replace(**changes)

    def one(example):
        example = jax.tree.map(lambda a: a[None], example)
        return jax.grad(lambda p: objective(asked, p, state, example)[0])(PARAMS)["net"]["a"]

    return np.asarray(jax.jit(jax.vmap(one))(examples))


def far(found):
    """By how many standard errors the mean gradient is off."""
    return abs(found.mean(0)) / (found.std(0) / np.sqrt(len(found)))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_meanflow_has_no_gradient_at_the_exact_map(power):
    assert far(gradients(MeanFlow(logit_normal, same=0.25, power=power), model(INSTANT, JUMP))).max() < 4.5


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("wrong", ["no slope", "other sign", "still", "not stopped"])
def test_wrong_identities_have_one(wrong, power, monkeypatch):
    """Without dU/dt, with its sign turned, with x held fixed in it, and with the target differentiated."""
    real = jax.jvp

    def spoiled(function, at, tangents):
        u, slope = real(function, at, (0 * tangents[0], tangents[1]) if wrong == "still" else tangents)
        return u, {"no slope": 0 * slope, "other sign": -slope}.get(wrong, slope)

    monkeypatch.setattr("train.objectives.jumps.jax.jvp", spoiled)
    if wrong == "not stopped":
        stopped = jax.lax.stop_gradient  # of the weight alone, one number an image
        monkeypatch.setattr("train.objectives.jumps.jax.lax.stop_gradient", lambda a: a if a.ndim == 2 else stopped(a))
    assert far(gradients(MeanFlow(logit_normal, same=0.25, power=power), model(INSTANT, JUMP), n=20_000)).max() > 6


def test_and_one_elsewhere():
    """The mean that jumps is not the velocity: with s for t in what is asked, there is something to learn."""
    objective, asked = MeanFlow(uniform, same=0.0, power=0.0), model(INSTANT, JUMP)

    class Still(Exact):
        def __call__(self, params, x, t, d, cond, key=None):
            return super().__call__(params, x, t, 0 * d, cond)

    wrong = Model(Still(), Linear(), VELOCITY, answers=asked.answers)
    found = gradients(objective, wrong)
    assert (abs(found.mean(0)) > 6 * found.std(0) / np.sqrt(len(found))).any()


def test_two_shortcuts_are_one():
    objective, asked = Shortcut(uniform, bootstrap=2), model(INSTANT, JUMP)
    examples = objective.draw(asked, batch(64), jax.random.key(0))
    _, told = objective(asked, PARAMS, STATE, examples)
    jumps = np.asarray(examples.s < examples.t)
    assert jumps.sum() == 32
    assert told["jump"] < 2e-3  # at 1/64 two steps along the velocity stand for two jumps
    larger = examples._replace(t=jnp.where(jumps, examples.t, 0.5), s=jnp.where(jumps, examples.s, 0.5))
    wide = jnp.where((larger.t - larger.s) > 1 / 50, 1, 0)
    some = jax.tree.map(lambda a: a[np.asarray(wide, bool)], larger)
    assert objective._both(asked, PARAMS, some, x_of(some)).shape == some.x0.shape
    pred = GAUSSIAN(x_of(some), some.t, some.s)
    np.testing.assert_allclose(objective._both(asked, PARAMS, some, x_of(some)), pred.eps - pred.x0, atol=2e-4)


def x_of(examples):
    t = examples.t[:, None]
    return (1 - t) * examples.x0 + t * examples.eps


def test_sizes_and_times_of_shortcuts():
    objective = Shortcut(uniform, bootstrap=4, sizes=7)
    drawn = objective.draw(model(INSTANT, JUMP), batch(448), jax.random.key(1))
    d = np.asarray(drawn.t - drawn.s)
    assert (d[112:] == 0).all()
    assert sorted(set(d[:112])) == [2.0**-k for k in range(6, -1, -1)]
    assert {(d == 2.0**-k).sum() for k in range(7)} == {16}
    assert (drawn.s >= 0).all()
    assert (np.asarray(drawn.t)[:112] / d[:112] % 1 == 0).all()


def test_its_teacher_is_the_average_of_the_parameters():
    objective, asked = Shortcut(uniform, bootstrap=2), model(INSTANT, JUMP)
    examples = objective.draw(asked, batch(16), jax.random.key(0))
    moved = {"net": {"a": jnp.full(4, 0.5)}}
    same, other = (
        objective(asked, PARAMS, STATE._replace(ema={"0.9": ema}), examples)[1]["jump"] for ema in (PARAMS, moved)
    )
    assert other > same + 0.1


def test_meanflow_times():
    objective = MeanFlow(uniform, same=0.75)
    drawn = objective.draw(model(INSTANT, JUMP), batch(400), jax.random.key(0))
    assert (drawn.s == drawn.t).sum() == pytest.approx(300, abs=1)
    assert (drawn.s <= drawn.t).all()
    assert (drawn.s > 0).all()


def test_consistency_is_at_home_where_steps_are_small():
    """What is left of its gradient at the exact map goes with the distance of the two times."""
    asked, sizes = Model(ToTheData(), Linear(), VELOCITY, answers=frozenset({ZERO})), []
    for stage in (3, 6):
        objective = Consistency(uniform, until=10, stages=10, b=0.0, k=2.0, huber=10.0)
        state = STATE._replace(step=jnp.int32(stage))
        found = gradients(objective, asked, 20_000, state)
        sizes.append(np.linalg.norm(found.mean(0)))
        doubt = np.linalg.norm(found.std(0)) / np.sqrt(len(found))
    assert sizes[1] < 0.4 * sizes[0] + 3 * doubt


class Either(Exact):
    """The jump to t = 0, or the velocity, as the parameters say."""

    def __call__(self, params, x, t, d, cond, key=None):
        return super().__call__(params, x, t, params["whole"] * t, cond)


def test_a_teacher_leads_along_its_own_path():
    """Then nothing is random in what is compared, and little is left of it at the exact map."""
    student, teacher = ({"net": {"a": jnp.zeros(4), "whole": jnp.float32(whole)}} for whole in (1, 0))
    state = STATE._replace(params=student, frozen={"teacher": teacher}, step=jnp.int32(9))
    asked = Model(Either(), Linear(), VELOCITY, answers=frozenset({ZERO}))
    apart = []
    for taught in (False, True):
        objective = Consistency(uniform, until=10, stages=10, b=0.0, k=2.0, teacher=taught)
        examples = objective.draw(asked, batch(2000), jax.random.key(0))
        _, told = objective(asked, student, state, examples)
        apart.append(float(told["apart"]))
    assert apart[1] < 1e-3 * apart[0]
    far = Consistency(uniform, until=10, stages=1, q=8.0, k=0.0, teacher=True)  # to a seventh of the noise at once
    x, t = x_of(examples), jnp.full(2000, 0.5)
    s = far.nearer(Linear(), t, 0)
    led = far._led(asked, state, x, t, s, Cond())
    want = GAUSSIAN(x, t, s)
    s = s[:, None]
    np.testing.assert_allclose(led, (1 - s) * want.x0 + s * want.eps, atol=0.02)


def test_the_boundary_is_exact():
    den = Model(ToTheData(), Linear(), VELOCITY, answers=frozenset({ZERO})).denoiser(PARAMS["net"])
    x = batch(5).image
    np.testing.assert_allclose(den(x, np.zeros(5, np.float32), 0.0).x0, x, atol=1e-6)


def test_how_near_the_other_time_is():
    objective, t = Consistency(until=100, stages=4, q=2.0), np.linspace(0.05, 0.95, 9, dtype=np.float32)
    found = [np.asarray(objective.nearer(Linear(), t, step)) for step in (0, 30, 60, 99)]
    for nearer, further in zip(found[1:], found, strict=False):
        assert (nearer >= further).all()
    assert (found[-1] < t).all()
    ratio = t / (1 - t)
    want = ratio * (1 - 2.0**-4 * (1 + 8 / (1 + np.exp(ratio))))
    np.testing.assert_allclose(found[-1] / (1 - found[-1]), np.maximum(want, 0), rtol=1e-4)


@pytest.mark.parametrize("objective", [MeanFlow(), Shortcut()])
@pytest.mark.parametrize(("process", "prediction"), [(VP(), VELOCITY), (Linear(), V)])
def test_jumps_are_of_the_linear_path(objective, process, prediction):
    asked = Model(Exact(), process, prediction, answers=objective.answers)
    examples = objective.draw(asked, batch(4), jax.random.key(0))
    with pytest.raises(ValueError, match=r"train.process = @Linear\(\)"):
        objective(asked, PARAMS, STATE, examples)
