"""IMM, CTM and progressive distillation at the exact flow map of Gaussian data: nothing left to learn there."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_maps import (
    GAUSSIAN,
    MEAN,
    PARAMS,
    PERTURBED,
    STATE,
    STD,
    TAUGHT,
    Exact,
    batch,
    evaluated,
    far,
    gradients,
    model,
    x_of,
)

from fewstep.diffusion import VP, Linear, oracles
from fewstep.diffusion.denoiser import INSTANT, JUMP, Cond, Model
from fewstep.diffusion.prediction import VELOCITY, V
from fewstep.samplers import ddim, draw, tabulate
from fewstep.train.objectives import CTM, IMM, Progressive

JUMPS = model(JUMP)
BOTH = model(INSTANT, JUMP)


class Others(IMM):
    """No particle is compared with its own other jump."""

    def compared(self, label):
        return super().compared(label) * (1 - jnp.eye(self.particles))[..., None]


class ExactCTM(CTM):
    """Its teacher's step is the exact jump."""

    def solve(self, model, state, x, t, u, cond):
        pred = GAUSSIAN(x, t, u)
        at = u[:, None]
        return (1 - at) * pred.x0 + at * pred.eps


class OfSize(Exact):
    """A jump of the size that the parameters say, or to t = 0."""

    def __call__(self, params, x, t, d, cond, key=None):
        return super().__call__(params, x, t, jnp.minimum(params["size"], t), cond)


def of_steps(steps):
    return {"a": jnp.zeros(4), "size": jnp.float32(1 / steps)}


STEPS = Model(OfSize(), Linear(), VELOCITY)


def test_imm_has_no_gradient_at_the_exact_map():
    """Samples of two jumps to one time have one distribution there, at any gap."""
    assert far(gradients(Others(gap=2.0), JUMPS, 40_000, group=4)).max() < 4.5
    assert far(gradients(Others(gap=2.0), JUMPS, 40_000, group=4, at=PERTURBED)).max() > 6


def test_what_pairs_of_one_particle_add_goes_with_the_gap():
    """As the gradient of consistency does: it is 0.37 of itself at a gap of 1/16."""
    wide, narrow = (gradients(IMM(gap=gap), JUMPS, 40_000, group=4) for gap in (2.0, 0.125))
    sizes = [np.linalg.norm(found.mean(0)) for found in (wide, narrow)]
    doubt = np.linalg.norm(wide.std(0)) / np.sqrt(len(wide))
    assert sizes[0] > 6 * doubt
    assert sizes[1] < 0.5 * sizes[0]


def test_ctm_has_no_gradient_at_the_exact_map():
    """Of jumps alone there is none for any example, and at other maps there is one."""
    assert far(gradients(ExactCTM(), BOTH, 8000, TAUGHT, group=2)).max() < 4.5
    jumps = ExactCTM(same=0.0, power=0.0)
    assert abs(gradients(jumps, BOTH, 400, TAUGHT)).max() < 2e-3
    assert far(gradients(jumps, BOTH, 400, TAUGHT, at=PERTURBED)).max() > 6


def test_its_two_ways_meet_at_the_exact_map():
    examples = ExactCTM().draw(BOTH, batch(64), jax.random.key(0))
    _, told = evaluated(ExactCTM(), BOTH, PARAMS, TAUGHT, examples)
    assert told["jump"] < 1e-6
    _, told = evaluated(ExactCTM(), BOTH, PARAMS | {"net": PERTURBED}, TAUGHT, examples)
    assert told["jump"] > 0.01


def test_the_step_of_its_teacher_is_of_the_second_order():
    """Its local error is of the third."""
    examples = CTM().draw(BOTH, batch(64), jax.random.key(0))
    t, x = jnp.full(64, 0.7), x_of(examples._replace(t=jnp.full(64, 0.7)))
    errors = []
    for size in (0.2, 0.1, 0.05):
        asked = BOTH, TAUGHT, x, t, t - size, Cond()
        errors.append(float(abs(CTM().solve(*asked) - ExactCTM().solve(*asked)).max()))
    slope = np.polyfit(np.log((0.2, 0.1, 0.05)), np.log(errors), 1)[0]
    assert slope == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_that_is_two_exact_ones_has_no_gradient(steps):
    """With the exact jump of half the size as teacher, every example is at rest."""
    state = STATE._replace(frozen={"teacher": {"net": of_steps(2 * steps)}})
    found = gradients(Progressive(steps), STEPS, 400, state, of_steps(steps))
    assert abs(found).max() < 1e-4
    wrong = gradients(Progressive(steps), STEPS, 400, state, of_steps(steps) | {"a": PERTURBED["a"]})
    assert far(wrong).max() > 6
    assert abs(gradients(Progressive(steps), STEPS, 400, state, of_steps(2 * steps)).mean(0)).max() > 1e-3


@pytest.mark.parametrize(
    ("process", "prediction"),
    [(Linear(), VELOCITY), *(pytest.param(VP(), prediction, marks=pytest.mark.slow) for prediction in (V, VELOCITY))],
)
def test_what_a_student_learns_is_two_steps_of_ddim(process, prediction):
    """The best output, put in place of the network's, leads where the sampler leads in twice as many steps."""
    steps, oracle = 3, oracles.gaussian(process, MEAN, STD)

    def teacher(params, x, t, d, cond, key=None):
        at, pred = t[:, None], oracle(x, t)
        return prediction.encode(process, at, pred.x0, pred.eps) + params["off"]

    asked, net = Model(teacher, process, prediction), {"off": jnp.zeros((256, 2))}
    state = STATE._replace(frozen={"teacher": {"net": net}})
    examples = Progressive(steps).draw(asked, batch(256), jax.random.key(0))
    down = jax.grad(lambda net: Progressive(steps)(asked, {"net": net}, state, examples)[0])(net)["off"]
    best = Model(teacher, process, prediction).denoiser({"off": -down * down.size / 2})
    start, end = process.ends
    for place in range(steps):
        t = start - (start - end) * place / steps
        rows = np.asarray(abs(examples.t - t) < 1e-4)
        assert rows.sum() in (85, 86)
        x = np.asarray(process.alpha(t) * examples.x0 + process.sigma(t) * examples.eps)
        ends = t - (start - end) / steps
        found = best(x, jnp.full(256, t))
        found = process.alpha(ends) * found.x0 + process.sigma(ends) * found.eps
        table = tabulate(ddim(process, np.array([t, (t + ends) / 2, ends])))
        want = draw(oracle, table, np.arange(256), (2,), start=x)
        np.testing.assert_allclose(found[rows], want[rows], rtol=1e-3, atol=2e-4)


def test_groups_of_imm():
    """They share their times, r is nearer to the data by the gap, and most of them have one class."""
    labels = np.random.default_rng(0).integers(0, 2, 64).astype(np.int32)
    known = Model(Exact(), Linear(), VELOCITY, classes=2, capabilities=frozenset({JUMP}))
    objective = IMM(particles=4, label_drop=0.0)
    drawn = objective.draw(known, batch(64)._replace(label=labels), jax.random.key(0))
    t, s, label = (np.asarray(a).reshape(4, 16) for a in (drawn.t, drawn.s, drawn.label))
    assert (t == t[0]).all()
    assert (s == s[0]).all()
    assert (s < t).all()
    assert len(set(t[0])) == 16
    assert sorted(label.ravel()) == sorted(labels)
    assert (label == label[0]).all(0).sum() >= 15
    x0, image = np.asarray(drawn.x0), batch(64).image
    for i in range(64):  # labels stay with their images
        assert labels[(image == x0[i]).all(1)] == [drawn.label[i]]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="not divisible into groups of 4"):
        IMM().draw(JUMPS, batch(6), jax.random.key(0))
    for wrong in (partial(IMM, particles=1), partial(IMM, gap=0.0), partial(CTM, reach=0.0), partial(Progressive, 0)):
        with pytest.raises(ValueError, match="is a"):
            wrong()
