"""Objectives of jumps at the exact flow map of Gaussian data: nothing left to learn there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_maps import GAUSSIAN, PARAMS, STATE, Exact, batch, evaluated, far, gradients, model, x_of

from fewstep.diffusion import Linear
from fewstep.diffusion.denoiser import INSTANT, JUMP, Model
from fewstep.diffusion.prediction import VELOCITY, V
from fewstep.diffusion.process import VP
from fewstep.train.objectives import MeanFlow, Shortcut
from fewstep.train.objectives.times import logit_normal, uniform


class Labelled:
    """The velocity of one number a class, the null class being the last."""

    def __call__(self, params, x, t, d, cond, key=None):
        return jnp.zeros_like(x) + params["of"][cond.label][:, None]


OF = {"net": {"of": jnp.array([1.0, 3.0, -0.5])}}
KNOWN = Model(Labelled(), Linear(), VELOCITY, classes=2, capabilities=frozenset({INSTANT, JUMP}))


def labelled(n):
    return batch(n)._replace(label=np.arange(n, dtype=np.int32) % 2)


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

    monkeypatch.setattr("fewstep.train.objectives.jumps.jax.jvp", spoiled)
    if wrong == "not stopped":
        stopped = jax.lax.stop_gradient  # of the weight alone, one number an image
        monkeypatch.setattr(
            "fewstep.train.objectives.jumps.jax.lax.stop_gradient", lambda a: a if a.ndim == 2 else stopped(a)
        )
    assert far(gradients(MeanFlow(logit_normal, same=0.25, power=power), model(INSTANT, JUMP), n=20_000)).max() > 6


def test_and_one_elsewhere():
    """The mean that jumps is not the velocity: with s for t in what is asked, there is something to learn."""
    objective, asked = MeanFlow(uniform, same=0.0, power=0.0), model(INSTANT, JUMP)

    class Still(Exact):
        def __call__(self, params, x, t, d, cond, key=None):
            return super().__call__(params, x, t, 0 * d, cond)

    wrong = Model(Still(), Linear(), VELOCITY, capabilities=asked.capabilities)
    found = gradients(objective, wrong)
    assert (abs(found.mean(0)) > 6 * found.std(0) / np.sqrt(len(found))).any()


def test_shortcuts_have_no_gradient_at_the_exact_map():
    """But for what the velocity is not the smallest jump: that part of the target is not random."""
    found = gradients(Shortcut(uniform, bootstrap=2, sizes=10), model(INSTANT, JUMP))
    assert far(found)[:3].max() < 4.5
    assert abs(found.mean(0)[3]) < 1e-4
    moved = STATE._replace(ema={"0.9": {"net": {"a": jnp.array([0.1, 0.0, 0.0, 0.0])}}})
    assert abs(gradients(Shortcut(uniform, bootstrap=2), model(INSTANT, JUMP), state=moved).mean(0)[0]) > 0.01


def test_two_shortcuts_are_one():
    objective, asked = Shortcut(uniform, bootstrap=2), model(INSTANT, JUMP)
    examples = objective.draw(asked, batch(64), jax.random.key(0))
    _, told = evaluated(objective, asked, PARAMS, STATE, examples)
    jumps = np.asarray(examples.s < examples.t)
    assert jumps.sum() == 32
    assert told["jump"] < 2e-3  # at 1/64 two steps along the velocity stand for two jumps
    wide = np.asarray(examples.t - examples.s) > 1 / 50
    some = jax.tree.map(lambda a: a[wide], examples)
    assert objective._two_jumps(asked, PARAMS, some, x_of(some)).shape == some.x0.shape
    pred = GAUSSIAN(x_of(some), some.t, some.s)
    np.testing.assert_allclose(objective._two_jumps(asked, PARAMS, some, x_of(some)), pred.eps - pred.x0, atol=2e-4)


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
        evaluated(objective, asked, PARAMS, STATE._replace(ema={"0.9": ema}), examples)[1]["jump"]
        for ema in (PARAMS, moved)
    )
    assert other > same + 0.1


def test_what_teaches_is_held_within_bounds():
    """Where the first jump leads, and the mean of both: of a velocity of 3 x."""

    def thrice(params, x, t, d, cond, key=None):
        return 3 * x

    asked = Model(thrice, Linear(), VELOCITY, capabilities=frozenset({INSTANT, JUMP}))
    examples = Shortcut(uniform, bootstrap=2, sizes=1).draw(asked, batch(8), jax.random.key(0))
    jumps = jax.tree.map(lambda a: a[:4], examples)
    x = np.asarray(x_of(jumps))
    for clip in (np.inf, 2.0, 0.2):
        between = np.clip(x - 0.5 * 3 * x, -clip, clip)
        want = np.clip((3 * x + 3 * between) / 2, -clip, clip)
        found = Shortcut(uniform, sizes=1, clip=None if clip == np.inf else clip)._two_jumps(asked, PARAMS, jumps, x)
        np.testing.assert_allclose(found, want, rtol=1e-5)
    assert (abs(x - 1.5 * x) > 0.2).any()


@pytest.mark.parametrize("wrong", [{"clip": -1.0}, {"guidance": 0.0}, {"bootstrap": 1}, {"sizes": 0}])
def test_shortcuts_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=rf"Shortcut.*{next(iter(wrong))}"):
        Shortcut(**wrong)


def test_meanflow_times():
    objective = MeanFlow(uniform, same=0.75)
    drawn = objective.draw(model(INSTANT, JUMP), batch(400), jax.random.key(0))
    assert (drawn.s == drawn.t).sum() == pytest.approx(300, abs=1)
    assert (drawn.s <= drawn.t).all()
    assert (drawn.s > 0).all()


@pytest.mark.parametrize("objective", [MeanFlow(), Shortcut()])
@pytest.mark.parametrize(("process", "prediction"), [(VP(), VELOCITY), (Linear(), V)])
def test_jumps_are_of_the_linear_path(objective, process, prediction):
    asked = Model(Exact(), process, prediction, capabilities=objective.capabilities)
    examples = objective.draw(asked, batch(4), jax.random.key(0))
    with pytest.raises(ValueError, match=r"train.process = @Linear\(\)"):
        evaluated(objective, asked, PARAMS, STATE, examples)


def test_meanflow_learns_what_is_guided():
    objective = MeanFlow(uniform, label_drop=0.5, same=1.0, power=0.0, guidance=1.5, mix=0.25)
    examples = objective.draw(KNOWN, labelled(64), jax.random.key(0))
    loss, _ = evaluated(objective, KNOWN, OF, STATE, examples)
    label = np.asarray(examples.label)
    assert set(label) == {0, 1, 2}
    own, v = np.asarray(OF["net"]["of"])[label][:, None], np.asarray(examples.eps - examples.x0)
    guided = 1.5 * v + (1 - 1.5 - 0.25) * -0.5 + 0.25 * own
    want = np.where(label[:, None] == 2, v, guided)
    assert float(loss) == pytest.approx(((own - want) ** 2).sum(1).mean(), rel=1e-5)


def test_the_smallest_shortcuts_are_guided_and_the_rest_follows():
    objective = Shortcut(uniform, label_drop=0.0, bootstrap=2, sizes=3, guidance=2.0)
    state = STATE._replace(ema={"0.9": OF})
    examples = objective.draw(KNOWN, labelled(48), jax.random.key(0))
    _, told = evaluated(objective, KNOWN, OF, state, examples)
    strength = np.array([1.0, 3.0]) + 0.5  # label less null
    assert float(told["jump_4"]) == pytest.approx((strength**2).mean(), rel=1e-5)
    assert (told["jump_1"], told["jump_2"]) == (0, 0)
    assert float(told["jump"]) == pytest.approx(float(told["jump_4"]) / 3, rel=1e-5)


@pytest.mark.parametrize("objective", [MeanFlow(guidance=2.0), Shortcut(guidance=2.0)])
def test_guidance_is_of_labels(objective):
    examples = objective.draw(model(INSTANT, JUMP), batch(8), jax.random.key(0))
    with pytest.raises(ValueError, match="guidance requires labels"):
        objective(model(INSTANT, JUMP), PARAMS, STATE, examples)
