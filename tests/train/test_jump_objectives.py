"""Objectives of jumps: their times, teachers and guidance."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_maps import GAUSSIAN, MEAN, PARAMS, STATE, STD, TAUGHT, Exact, batch, evaluated, expected, model, x_of

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.denoiser import INSTANT, JUMP, Model
from fewstep.diffusion.foreign import Transferred
from fewstep.diffusion.prediction import EPS, VELOCITY
from fewstep.diffusion.process import VP
from fewstep.train.objectives import CTM, IMM, LSD, MeanFlow, Shortcut
from fewstep.train.objectives.times import logit_normal, uniform


class Labelled:
    """The velocity of one number a class, the null class being the last."""

    def __call__(self, params, x, t, d, cond, key=None):
        return jnp.zeros_like(x) + params["of"][cond.label][:, None]


OF = {"net": {"of": jnp.array([1.0, 3.0, -0.5])}}
KNOWN = Model(Labelled(), Linear(), VELOCITY, classes=2, capabilities=frozenset({INSTANT, JUMP}))


def labelled(n):
    return batch(n)._replace(label=np.arange(n, dtype=np.int32) % 2)


@pytest.mark.slow
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


def test_ends_have_a_law_of_their_own():
    """And velocities are learned at the times of the starts."""
    starts, ends = (partial(logit_normal, mean=mean, std=0.1) for mean in (2.0, -3.0))
    drawn = LSD(starts, ends=ends, same=0.5).draw(model(INSTANT, JUMP), batch(4000), jax.random.key(0))
    t, s = np.asarray(drawn.t), np.asarray(drawn.s)
    assert (s[2000:] == t[2000:]).all()
    for found, mean in ((t, 2.0), (s[:2000], -3.0)):
        logits = np.log(found / (1 - found))
        assert logits.mean() == pytest.approx(mean, abs=0.01)
        assert logits.std() == pytest.approx(0.1, abs=0.01)


def test_a_network_trained_otherwise_has_no_gradient_where_it_is_exact():
    """It predicts the noise under VP: what it is compared with is the velocity of the linear path."""

    class Noise:
        def __call__(self, params, x, t, d, cond, key=None):
            told = jnp.stack([jnp.ones_like(x), x, jnp.sin(x), jnp.cos(x)])
            return oracles.gaussian(VP(), MEAN, STD)(x, t).eps + jnp.tensordot(params["a"], told, 1)

    prediction = Transferred(EPS, VP())
    asked = Model(Noise(), Linear(), prediction, capabilities=frozenset({INSTANT, JUMP}))
    objective = MeanFlow(partial(logit_normal, std=0.5), same=1.0, power=0.0)
    assert abs(expected(objective, asked)).max() < 1e-4
    assert abs(expected(objective, asked, at={"a": jnp.full(4, 0.1)})).max() > 0.05


@pytest.mark.parametrize("objective", [MeanFlow(), Shortcut(), IMM(), CTM()])
def test_jumps_are_of_the_linear_path(objective):
    asked = Model(Exact(), VP(), VELOCITY, capabilities=objective.capabilities)
    examples = objective.draw(asked, batch(4), jax.random.key(0))
    with pytest.raises(ValueError, match=r"train.process = @Linear\(\)"):
        evaluated(objective, asked, PARAMS, TAUGHT, examples)


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
