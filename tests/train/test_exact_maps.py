"""Every objective of jumps at the exact flow map of Gaussian data: nothing is left to learn there, and something is at
every other map."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_maps import PARAMS, PERTURBED, STATE, WithVelocity, batch, expected, far, gradients, model, x_of

from fewstep.diffusion.denoiser import INSTANT, JUMP
from fewstep.diffusion.variance import Auxiliary
from fewstep.train.objectives import LSD, PSD, AlphaFlow, ImprovedMeanFlow, MeanFlow, Shortcut, self_distillation
from fewstep.train.objectives.times import logit_normal, uniform

ASKED = model(INSTANT, JUMP)
SQUARES = {"same": 0.25, "power": 0.0}  # then the gradient is affine in the velocity of an example
EXACT = {
    "meanflow": MeanFlow(logit_normal, **SQUARES),
    "imf": ImprovedMeanFlow(logit_normal, **SQUARES),
    "lsd": LSD(logit_normal, **SQUARES),
    "psd": PSD(logit_normal, **SQUARES),
    "psd, middle": PSD(logit_normal, share=0.5, **SQUARES),
    "alpha-flow, own velocity": AlphaFlow(logit_normal, own=True, until=1, first=0.3, last=0.3, **SQUARES),
    "shortcut": Shortcut(uniform, bootstrap=2, sizes=10),  # whose smallest jumps are steps along the velocity
}


def asked(name):
    return replace(ASKED, network=WithVelocity(), variance=Auxiliary()) if name == "imf" else ASKED


def alpha(a, **options):
    return AlphaFlow(uniform, first=a, last=a, until=1, **SQUARES | options)


def moved(net):
    return STATE._replace(params={"net": net}, ema={"0.9": {"net": net}})


@pytest.mark.parametrize("name", EXACT)
def test_no_gradient_at_the_exact_map(name):
    assert abs(expected(EXACT[name], asked(name))).max() < 1e-4


@pytest.mark.parametrize("name", EXACT)
def test_a_gradient_at_any_other_map(name):
    """In each direction that leaves the exact map, for the velocity and for jumps."""
    for k in range(4):
        net = {"a": jnp.zeros(4).at[k].set(0.1)}
        assert abs(expected(EXACT[name], asked(name), at=net, state=moved(net))[k]) > 5e-4, k


@pytest.mark.parametrize("name", ["meanflow", "imf", "lsd", "psd"])
def test_jumps_alone_hold_the_map(name):
    """Without an example of s = t too, the exact map is a stationary point, and another one is not."""
    kind = type(EXACT[name])
    objective = kind(logit_normal, same=0.0, power=0.0)
    assert abs(expected(objective, asked(name))).max() < 1e-4
    assert abs(expected(objective, asked(name), at=PERTURBED, state=moved(PERTURBED))).max() > 1e-2


@pytest.mark.parametrize(
    "objective", [MeanFlow(logit_normal, same=0.25), LSD(logit_normal, power=1.0), PSD(uniform, power=1.0)]
)
def test_weights_by_the_error_leave_no_gradient_either(objective):
    """As the errors of an example are symmetric about 0."""
    assert far(gradients(objective, ASKED)).max() < 4.5


@pytest.mark.parametrize("wrong", ["no slope", "other sign", "still", "not stopped"])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_wrong_identities_of_meanflow_have_one(wrong, power, monkeypatch):
    """Without dU/dt, with its sign turned, with x held fixed in it, and with the target differentiated."""
    real = jax.jvp

    def spoiled(function, at, tangents):
        u, slope = real(function, at, (0 * tangents[0], tangents[1]) if wrong == "still" else tangents)
        return u, {"no slope": 0 * slope, "other sign": -slope}.get(wrong, slope)

    monkeypatch.setattr("fewstep.train.objectives.meanflow.jax.jvp", spoiled)
    if wrong == "not stopped":
        stopped = jax.lax.stop_gradient  # of the weight alone, one number an image
        monkeypatch.setattr(
            "fewstep.train.objectives.flow_map.jax.lax.stop_gradient", lambda a: a if a.ndim == 2 else stopped(a)
        )
    assert far(gradients(MeanFlow(logit_normal, same=0.25, power=power), ASKED, n=20_000)).max() > 6


@pytest.mark.parametrize("wrong", ["no slope", "other sign", "still"])
def test_wrong_identities_of_improved_meanflow_have_one(wrong, monkeypatch):
    real = jax.jvp

    def spoiled(function, at, tangents, has_aux):
        u, slope, second = real(function, at, (0 * tangents[0], tangents[1]) if wrong == "still" else tangents, has_aux)
        return u, {"no slope": 0 * slope, "other sign": -slope}.get(wrong, slope), second

    monkeypatch.setattr("fewstep.train.objectives.imf.jax.jvp", spoiled)
    assert abs(expected(EXACT["imf"], asked("imf"))).max() > 1e-2


@pytest.mark.slow
def test_the_slope_of_improved_meanflow_does_not_depend_on_the_example():
    """Only on x_t and the times; that of MeanFlow is along the velocity of the example."""
    slopes = {}
    for name in ("imf", "meanflow"):
        examples = EXACT[name].draw(asked(name), batch(64), jax.random.key(0))
        t = examples.t[:, None]
        other = examples._replace(x0=examples.x0 + t, eps=examples.eps - (1 - t))  # at the same x_t
        np.testing.assert_allclose(x_of(other), x_of(examples), rtol=1e-5, atol=1e-6)
        found = [
            EXACT[name](asked(name), PARAMS | {"net": PERTURBED}, moved(PERTURBED), one)[1]["slope"]
            for one in (examples, other)
        ]
        slopes[name] = abs(found[1] / found[0] - 1)
    assert slopes["imf"] < 1e-4
    assert slopes["meanflow"] > 1e-2


@pytest.mark.parametrize("wrong", ["no slope", "other sign", "not moved"])
def test_wrong_identities_of_lsd_have_one(wrong, monkeypatch):
    """The last one compares with the velocity where the jump begins."""
    real = jax.jvp

    def spoiled(function, at, tangents):
        u, slope = real(function, at, tangents)
        return u, {"no slope": 0 * slope, "other sign": -slope}.get(wrong, slope)

    monkeypatch.setattr("fewstep.train.objectives.self_distillation.jax.jvp", spoiled)
    if wrong == "not moved":
        monkeypatch.setattr(self_distillation, "over", lambda t, x: 0.0)
    assert abs(expected(EXACT["lsd"], ASKED)).max() > 1e-2


@pytest.mark.parametrize("wrong", ["not moved", "the other share", "moved too far"])
def test_wrong_jumps_in_two_have_one(wrong, monkeypatch):
    def spoiled(mean, first, x, t, r, s):
        share = ((t - r) / jnp.maximum(t - s, 1e-6))[:, None]
        way = {"not moved": 0.0, "moved too far": 1.2}.get(wrong, 1.0) * (t - r)[:, None]
        share = 1 - share if wrong == "the other share" else share
        return share * first + (1 - share) * mean(x - way * first, r, s)

    monkeypatch.setattr(self_distillation, "two_jumps", spoiled)
    assert abs(expected(PSD(logit_normal, share=0.3, **SQUARES), ASKED)).max() > 5e-3


def test_alpha_flow_tends_to_the_exact_map_with_its_step():
    """Its steps follow the velocity of an example, not the path: the gradient is of first order in a."""
    steps = np.array([0.2, 0.1, 0.05, 0.025])
    sizes = [np.linalg.norm(expected(alpha(a), ASKED)) for a in steps]
    rate = np.polyfit(np.log(steps), np.log(sizes), 1)[0]
    assert rate == pytest.approx(1.0, abs=0.1)
    assert sizes[0] > 1e-3


def test_alpha_flow_becomes_meanflow():
    """At another map too: its gradient for small steps is that of MeanFlow."""
    want = expected(MeanFlow(uniform, **SQUARES), ASKED, at=PERTURBED)
    apart = [np.linalg.norm(expected(alpha(a), ASKED, at=PERTURBED) - want) for a in (0.08, 0.04, 0.02)]
    assert apart[0] < 0.2 * np.linalg.norm(want)
    assert apart[1] < 0.6 * apart[0]
    assert apart[2] < 0.6 * apart[1]


def test_alpha_flow_begins_with_the_velocity():
    """At a = 1 every jump learns the velocity where it begins."""
    objective = alpha(1.0)
    examples = objective.draw(ASKED, batch(64), jax.random.key(0))
    few = jax.tree.map(lambda a: a[:48], examples)
    _, goal, told = objective.jump(ASKED, PARAMS, STATE, few, few.eps - few.x0)
    np.testing.assert_allclose(goal, few.eps - few.x0, atol=1e-5)
    assert told["a"] == 1


def test_alpha_flow_with_its_own_velocity_is_a_shortcut():
    """At a = 1/2: half of its goal and half of what it is are the two jumps of a shortcut."""
    objective, other = alpha(0.5, own=True), Shortcut(uniform, sizes=10, bootstrap=2)
    params = {"net": PERTURBED}
    some = jax.tree.map(lambda a: a[:32], other.draw(ASKED, batch(64), jax.random.key(0)))
    some = jax.tree.map(lambda a: a[np.asarray(some.t - some.s) > 0.01], some)
    u, goal, _ = objective.jump(ASKED, params, STATE, some, some.eps - some.x0)
    both = other._two_jumps(ASKED, params, some, x_of(some))
    np.testing.assert_allclose((u + goal) / 2, both, atol=1e-5)


def test_shortcuts_learn_from_the_average():
    net = {"a": jnp.array([0.1, 0.0, 0.0, 0.0])}
    taught = STATE._replace(ema={"0.9": {"net": net}})
    assert abs(expected(Shortcut(uniform, bootstrap=2), ASKED, state=taught)[0]) > 0.01
