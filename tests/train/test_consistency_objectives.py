"""Objectives of consistency at the exact map of Gaussian data: nothing left to learn there."""

from functools import partial
from math import erf

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_maps import GAUSSIAN, PARAMS, STATE, Either, ToTheData, batch, evaluated, far, gradients, x_of

from fewstep.diffusion import VE, VP, Cond, Linear
from fewstep.diffusion.denoiser import ZERO, Model
from fewstep.diffusion.prediction import SCORE, VELOCITY, X0, V, edm
from fewstep.train.objectives import ContinuousConsistency, DiscreteConsistency
from fewstep.train.objectives.consistency import doubling, of_slope, of_square, shrinking
from fewstep.train.objectives.times import log_normal, uniform

wide = partial(log_normal, mean=-1.1, std=2.0)
STUDENT, TEACHER = ({"net": {"a": jnp.zeros(4), "whole": jnp.float32(whole)}} for whole in (1, 0))
BOTH = STATE._replace(params=STUDENT, frozen={"teacher": TEACHER})
WAVES = {"weight": {"waves": jnp.zeros(16)}}


def test_consistency_is_at_home_where_steps_are_small():
    """What is left of its gradient at the exact map goes with the distance of the two times."""
    asked, sizes = Model(ToTheData(), Linear(), VELOCITY, capabilities=frozenset({ZERO})), []
    for stage in (3, 6):
        pair = partial(shrinking, stages=10, b=0.0, k=2.0)
        objective = DiscreteConsistency(uniform, pair=pair, weight=of_square, until=10, huber=10.0)
        state = STATE._replace(step=jnp.int32(stage))
        found = gradients(objective, asked, 20_000, state)
        sizes.append(np.linalg.norm(found.mean(0)))
        doubt = np.linalg.norm(found.std(0)) / np.sqrt(len(found))
    assert sizes[0] > 6 * doubt
    assert sizes[1] < 0.4 * sizes[0] + 3 * doubt


@pytest.mark.slow
def test_a_teacher_leads_along_its_own_path():
    """Then nothing is random in what is compared, and little is left of it at the exact map."""
    state = BOTH._replace(step=jnp.int32(9))
    asked = Model(Either(), Linear(), VELOCITY, capabilities=frozenset({ZERO}))
    apart = []
    for taught in (False, True):
        pair = partial(shrinking, stages=10, b=0.0, k=2.0)
        objective = DiscreteConsistency(uniform, pair=pair, until=10, teacher=taught)
        examples = objective.draw(asked, batch(2000), jax.random.key(0))
        _, told = evaluated(objective, asked, STUDENT, state, examples)
        apart.append(float(told["apart"]))
    assert apart[1] < 1e-3 * apart[0]
    x, t = x_of(examples), jnp.full(2000, 0.5)
    _, s = shrinking(Linear(), t, 0.0, stages=1, q=8.0, k=0.0)  # to an eighth less noise at once
    led = objective._teacher_step(asked, state, x, t, s, Cond())
    want = GAUSSIAN(x, t, s)
    s = s[:, None]
    np.testing.assert_allclose(led, (1 - s) * want.x0 + s * want.eps, atol=0.02)


def test_a_teacher_leads_to_the_data_too():
    """Where the other time is 0: in one step of Euler's, and not to the image itself."""
    asked = Model(Either(), Linear(), VELOCITY, capabilities=frozenset({ZERO}))
    objective = DiscreteConsistency(uniform, until=10, teacher=True, huber=1e-6)  # its first stage is one of s = 0
    examples = objective.draw(asked, batch(400), jax.random.key(0))
    examples = jax.tree.map(lambda a: a[np.asarray(shrinking(Linear(), examples.t, 0.0)[1]) == 0], examples)
    _, told = evaluated(objective, asked, TEACHER, BOTH, examples)  # the teacher against itself
    assert len(examples.t) > 100
    assert told["apart"] < 1e-10


def test_the_boundary_is_exact():
    den = Model(ToTheData(), Linear(), VELOCITY, capabilities=frozenset({ZERO})).denoiser(PARAMS["net"])
    x = batch(5).image
    np.testing.assert_allclose(den(x, np.zeros(5, np.float32), 0.0).x0, x, atol=1e-6)


def test_how_near_the_other_time_is():
    t = np.linspace(0.05, 0.95, 9, dtype=np.float32)
    found = [np.asarray(shrinking(Linear(), t, done, stages=4, q=2.0)[1]) for done in (0.0, 0.3, 0.6, 1.0)]
    for nearer, further in zip(found[1:], found, strict=False):
        assert (nearer >= further).all()
    assert (found[-1] < t).all()
    ratio = t / (1 - t)
    want = ratio * (1 - 2.0**-4 * (1 + 8 / (1 + np.exp(ratio))))
    np.testing.assert_allclose(found[-1] / (1 - found[-1]), np.maximum(want, 0), rtol=1e-4)


@pytest.mark.slow
def test_neighbours_on_a_grid_that_doubles():
    """As of improved consistency training: which pairs, how often, on how fine a grid."""
    t = log_normal(VE(), jax.random.key(0), 40_000, mean=-1.1, std=2.0)
    for done, steps in ((0.0, 10), (0.124, 10), (0.13, 20), (0.6, 160), (0.99, 1280), (1.0, 1280)):
        grid = np.linspace(0.002 ** (1 / 7), 80 ** (1 / 7), steps + 1) ** 7
        above, below = (80 * np.asarray(a) for a in doubling(VE(), t, done))
        inside = below > 0
        lower = np.abs(np.log(below[inside][:, None] / grid)).argmin(1)
        np.testing.assert_allclose(below[inside], grid[lower], rtol=2e-3)
        np.testing.assert_allclose(above[inside], grid[lower + 1], rtol=2e-3)
        np.testing.assert_allclose(above[~inside], 0.002, rtol=1e-4)
        if steps == 10:
            bounds = [erf((np.log(sigma) + 1.1) / (np.sqrt(2) * 2.0)) / 2 for sigma in grid]
            counts = np.bincount(lower, minlength=10) / len(t)
            counts[-1] -= 0.5 - bounds[-1]  # what is drawn beyond the grid counts to its last pair
            assert (abs(counts - np.diff(bounds)) < 4 * np.sqrt(np.diff(bounds) / len(t)) + 1e-4).all()


def test_how_much_an_error_counts():
    t = np.array([0.001, 0.01, 0.5], np.float32)
    sigma = 80 * t
    want = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    np.testing.assert_allclose(of_square(VE(), edm(0.5), t, t / 2), want, rtol=1e-5)
    np.testing.assert_allclose(of_slope(VE(), edm(0.5), t, t / 2), 2 / sigma, rtol=1e-5)
    np.testing.assert_allclose(of_slope(Linear(), VELOCITY, t, 0 * t), (1 - t) / t, rtol=1e-5)


def continuous(**options):
    return ContinuousConsistency(uniform, warmup=0, **options), Model(
        Either(), Linear(), VELOCITY, capabilities=frozenset({ZERO})
    )


def test_nothing_is_left_along_the_slope_of_a_teacher():
    objective, asked = continuous(teacher=True)
    examples = objective.draw(asked, batch(500), jax.random.key(0))
    _, told = evaluated(objective, asked, STUDENT | WAVES, BOTH, examples)
    _, wrong = evaluated(objective, asked, TEACHER | WAVES, BOTH, examples)
    assert told["slope"] < 1e-10
    assert wrong["slope"] > 0.01


def test_no_gradient_where_random_slopes_count_as_they_are():
    """With a small floor they do not: every image counts the same, and the mean of unit vectors is not that of the
    vectors."""
    asked = Model(ToTheData(), Linear(), VELOCITY, capabilities=frozenset({ZERO}))
    objective = ContinuousConsistency(uniform, warmup=0, floor=1e4)
    assert far(gradients(objective, asked, 20_000)).max() < 4.5
    off = PARAMS["net"] | {"a": jnp.array([0.0, 0.2, 0.0, 0.0])}
    assert far(gradients(objective, asked, 20_000, at=off)).max() > 6


def test_it_begins_where_velocities_are_learned():
    """Before any of the slope of F counts, the velocity itself is at rest."""
    velocity = Model(Either(), Linear(), VELOCITY, capabilities=frozenset({ZERO}))
    objective = ContinuousConsistency(uniform, warmup=10**9, floor=1e4)
    assert far(gradients(objective, velocity, at=TEACHER["net"])).max() < 4.5
    assert far(gradients(objective, velocity, at=STUDENT["net"])).max() > 6


@pytest.mark.parametrize("r", [0.25, 1.0])
def test_its_tangent_is_that_of_trigflow(r):
    """-cos^2 (F - v) - r cos sin (x + dF/da), with dF/da by small steps along the angle: F is to go that way."""

    def network(params, x, t, d, cond, key=None):
        return jnp.sin(1.5 * x) + jnp.cos(2 * t[:, None]) * x**2 + params["off"]

    process = VP()
    model = Model(network, process, V, capabilities=frozenset({ZERO}))
    params = {"net": {"off": jnp.zeros((6, 2))}} | WAVES
    objective = ContinuousConsistency(uniform, warmup=4, floor=0.1)
    examples = objective.draw(model, batch(6), jax.random.key(2))
    state = STATE._replace(step=jnp.int32(4 * r - 1))
    _, told = evaluated(objective, model, params, state, examples)

    angle = np.arctan(np.exp(-np.asarray(process.lam(np.float64(examples.t)))))[:, None]
    x0, eps = np.float64(examples.x0), np.float64(examples.eps)

    def of(angle):
        x = np.cos(angle) * x0 + np.sin(angle) * eps
        t = process.time(-np.log(np.tan(angle)))
        return x, np.sin(1.5 * x) + np.cos(2 * t) * x**2

    (x, out), (_, above), (_, below) = of(angle), of(angle + 1e-5), of(angle - 1e-5)
    v, slope = np.cos(angle) * eps - np.sin(angle) * x0, (above - below) / 2e-5
    g = -(np.cos(angle) ** 2) * (out - v) - r * np.cos(angle) * np.sin(angle) * (x + slope)
    size = np.linalg.norm(g, axis=1)
    assert told["error"] == pytest.approx(((size / (size + 0.1)) ** 2).mean(), rel=1e-4)
    found = jax.grad(lambda p: evaluated(objective, model, p, state, examples)[0])(params)["net"]["off"]
    np.testing.assert_allclose(found, -2 * g / (size[:, None] + 0.1) / 6, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("process", "prediction"),
    [
        (Linear(), V),
        *(
            pytest.param(*others, marks=pytest.mark.slow)
            for others in ((Linear(), edm(0.4)), (VE(), edm(0.4)), (VE(), V), (VP(), V))
        ),
    ],
)
@pytest.mark.parametrize("warmup", [0, pytest.param(10**9, marks=pytest.mark.slow)])
def test_a_step_down_its_gradient_leads_to_a_better_image(process, prediction, warmup):
    """Whatever the sign of det: the image moves towards that of a time a little nearer to the data, or in the warm-up
    towards the image itself."""

    def network(params, x, t, d, cond, key=None):
        return jnp.sin(1.5 * x) + 0.3 * jnp.cos(t[:, None]) + params["off"]

    model = Model(network, process, prediction, capabilities=frozenset({ZERO}))
    objective = ContinuousConsistency(wide, warmup=warmup, floor=1.0)
    examples = objective.draw(model, batch(64), jax.random.key(2))
    params = {"net": {"off": jnp.zeros((64, 2))}} | WAVES
    down = -jax.grad(lambda p: objective(model, p, STATE, examples)[0])(params)["net"]["off"]
    t = examples.t

    def image(t, off=0.0):
        at = t[:, None]
        x = process.alpha(at) * examples.x0 + process.sigma(at) * examples.eps
        return model.denoiser({"off": off})(x, t).x0

    nearer = process.time(process.lam(t) + 1e-2)
    wanted = image(nearer) if warmup == 0 else examples.x0
    moved = image(t, 1e-3 * down / jnp.linalg.norm(down, axis=1, keepdims=True)) - image(t)
    towards = ((wanted - image(t)) * moved).sum(1) / jnp.linalg.norm(wanted - image(t), axis=1)
    assert (towards / jnp.linalg.norm(moved, axis=1) > 0.9).mean() > 0.9


@pytest.mark.slow
def test_what_is_compared_with_is_not_differentiated():
    """The gradient is that of the loss with the other side held."""
    objective, asked = (
        DiscreteConsistency(wide, until=10),
        Model(ToTheData(), Linear(), VELOCITY, capabilities=frozenset({ZERO})),
    )
    state = STATE._replace(step=jnp.int32(5))
    examples = objective.draw(asked, batch(200), jax.random.key(0))
    at = PARAMS | {"net": {"a": jnp.array([0.1, -0.2, 0.05, 0.0])}}
    t, (_, s) = examples.t, shrinking(Linear(), examples.t, 0.5)
    near = jnp.where(s[:, None] > 0, asked.denoiser(at["net"])(x_of(examples._replace(t=s)), s).x0, examples.x0)

    def held(p):
        apart = asked.denoiser(p["net"])(x_of(examples), t).x0 - near
        return (jnp.sqrt((apart**2).sum(1) + 2 * objective.huber**2) / t).mean()

    found, want = (jax.grad(f)(at)["net"]["a"] for f in (lambda p: objective(asked, p, state, examples)[0], held))
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)


def test_the_adaptive_weight_is_least_at_the_logarithm_of_the_error():
    objective, asked = continuous(teacher=True)
    examples = objective.draw(asked, batch(500), jax.random.key(0))
    wrong = {"net": TEACHER["net"]}

    def loss(w):
        return evaluated(objective, asked, wrong | {"weight": {"waves": jnp.zeros(16).at[0].set(w)}}, BOTH, examples)

    best = jnp.log(loss(0.0)[1]["error"])
    assert jax.grad(lambda w: loss(w)[0])(best) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("objective", [DiscreteConsistency(until=1), ContinuousConsistency()])
@pytest.mark.parametrize(
    ("process", "prediction", "words"),
    [
        (VE(geometric=True), edm(), "requires sigma = 0 at t = 0"),
        (Linear(), X0, "use the prediction V or edm"),
        (VP(), VELOCITY, "use the prediction V or edm"),
        (VE(), SCORE, "use the prediction V or edm"),
    ],
)
def test_the_boundary_has_to_be_exact(objective, process, prediction, words):
    asked = Model(ToTheData(), process, prediction, capabilities=frozenset({ZERO}))
    examples = objective.draw(asked, batch(4), jax.random.key(0))
    with pytest.raises(ValueError, match=words):
        evaluated(objective, asked, PARAMS, STATE, examples)
