"""The guidance family: what each does to exact predictions, and what it costs."""

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from fewstep.diffusion import VE, VP, Cond, Linear, oracles
from fewstep.diffusion.denoiser import INSTANT
from fewstep.diffusion.levers import apg, autoguidance, cfg, cfg_pp, clip_x0, interval, rescale, under
from fewstep.diffusion.levers.upsample import upsample_guidance  # fmt: skip
from fewstep.samplers import SAMPLERS, ddim, ddpm, dpmpp_2m, draw, heun, table_at, tabulate, uniform
from fewstep.samplers.cost import passes

X = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
LABEL = np.array([0, 1, 2, 0, 1, 2], np.int32)
COND = Cond(LABEL)
ASK = jax.jit(lambda den, x, t, cond=COND: den(x, t, None, cond))
processes = pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=str)


def mixture(process=Linear()):
    return oracles.mixture(process, np.float32([-1.0, 0.4, 2.0]), np.float32([0.3, 0.5, 0.7]))


def pair(process, t):
    """(conditional, unconditional) predictions."""
    den = mixture(process)
    return ASK(den, X, t), ASK(den, X, t, Cond(np.full(6, 3, np.int32)))


@processes
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_cfg_pp_is_ddim_under_another_scale(process, strength):
    """Of strength / (1 - exp(-h)) for a step of h in half log-SNR (algorithms.md E3)."""
    t, s = 0.7, 0.5
    step = tabulate(ddim(process, np.array([t, s])))
    scale = strength / -np.expm1(process.lam(t) - process.lam(s))
    plus, plain = (ASK(lever(mixture(process)), X, t) for lever in (cfg_pp(strength), cfg(float(scale))))
    ends = [step.x0[0] * pred.x0 + step.eps[0] * pred.eps for pred in (plus, plain)]
    np.testing.assert_allclose(*ends, rtol=1e-5, atol=2e-5)
    assert strength == 0 or abs(plus.x0 - plain.x0).max() > 0.01


def test_a_draw_by_cfg_pp_is_one_by_guidance_that_changes_with_the_step():
    """From alpha = 0 to the step to sigma = 0, where the scale is the strength."""
    process, strength = Linear(), 0.4
    grid = uniform(process, 6)
    table, x = tabulate(ddim(process, grid)), jnp.asarray(X)
    for i, (t, s) in enumerate(pairwise(grid)):
        ratio = process.sigma(s) * process.alpha(t) / (process.sigma(t) * process.alpha(s))  # exp(-h)
        pred = ASK(cfg(float(strength / (1 - ratio)))(mixture()), x, np.float32(t))
        x = table.x0[i] * pred.x0 + table.eps[i] * pred.eps
    drawn = draw(cfg_pp(strength)(mixture()), table, range(6), (5,), cond=COND, start=X)
    np.testing.assert_allclose(drawn, x, rtol=1e-4, atol=1e-4)


def test_cfg_pp_under_another_process_stays_parted():
    """The pair that is parted on purpose is not put together again."""
    there, here = cfg_pp(0.6)(mixture(VP())).under(Linear()), cfg_pp(0.6)(mixture())
    got, want = ASK(there, X, 0.5), ASK(here, X, 0.5)
    assert not there.consistent
    np.testing.assert_allclose(got.x0, want.x0, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.eps, want.eps, rtol=1e-4, atol=1e-4)


def test_apg_has_a_derivative_where_both_predictions_are_one():
    """As curvature takes it: for the null class there is nothing beyond."""
    null = Cond(np.full(6, 3, np.int32))
    slope = jax.jvp(lambda x: apg(3.0)(mixture())(x, 0.5, None, null).x0, (X,), (X,))[1]
    assert np.isfinite(slope).all()


def test_rescale_leaves_one_colour_as_it_is():
    flat = under(oracles.mixture(Linear(), np.float32([0.2, 0.3]), np.float32([0.1, 0.2])), [cfg(2.0), rescale(1.0)])
    x = np.full((2, 1), 0.3, np.float32)
    got, want = flat(x, 0.5, None, Cond(LABEL[:2])), flat.inner(x, 0.5, None, Cond(LABEL[:2]))
    np.testing.assert_allclose(got.x0, want.x0, rtol=1e-6)


def test_cfg_pp_runs_by_samplers_of_the_ddim_form_alone():
    den, process = cfg_pp(0.6)(mixture()), Linear()
    for sampler in (ddim, partial(ddim, eta=0.5), ddpm):
        table = tabulate(sampler(process, uniform(process, 4)))
        assert np.isfinite(draw(den, table, range(6), (5,), cond=COND)).all()
    for sampler in (dpmpp_2m, heun):
        with pytest.raises(ValueError, match="ddim form"):
            draw(den, tabulate(sampler(process, uniform(process, 4))), range(6), (5,), cond=COND)


def test_cfg_pp_of_strength_zero_is_the_unconditional_model():
    pred, (_, bad) = ASK(cfg_pp(0)(mixture()), X, 0.5), pair(Linear(), 0.5)
    np.testing.assert_allclose(pred.x0, bad.x0, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(pred.eps, bad.eps, rtol=1e-6, atol=1e-6)


def projected(good, bad, before, scale, eta, momentum, radius):
    """APG's x0 written out again, one image at a time, in float64."""
    found = []
    for c, u, m in zip(np.float64(good), np.float64(bad), before, strict=True):
        d = c - u + momentum * m
        length = np.sqrt((d**2).sum())
        d = d if length <= radius else d * radius / length
        along = (d @ c) / (c @ c) * c
        found.append(c + (scale - 1) * ((d - along) + eta * along))
    return np.array(found)


@processes
@pytest.mark.parametrize(("eta", "momentum", "radius"), [(0.0, 0.0, np.inf), (0.3, -0.5, np.inf), (0.0, -0.5, 0.7)])
def test_apg(process, eta, momentum, radius):
    t, rng = 0.6, np.random.default_rng(1)
    good, bad = pair(process, t)
    before = np.float32(rng.normal(size=X.shape))
    den = apg(3.0, eta, momentum, radius)(mixture(process))
    pred = ASK(den, X, t, COND._replace(memory=(before,)))
    want = projected(good.x0, bad.x0, before, 3.0, eta, momentum, radius)
    np.testing.assert_allclose(pred.x0, want, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(pred.memory[0], good.x0 - bad.x0 + momentum * before, rtol=1e-5, atol=1e-5)
    if not eta:  # orthogonal to the conditional prediction
        assert abs(((pred.x0 - good.x0) * good.x0).sum(1)).max() < 1e-4


@processes
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_apg_of_eta_one_is_cfg(process, scale):
    got, want = ASK(apg(scale, eta=1.0)(mixture(process)), X, 0.6), ASK(cfg(scale)(mixture(process)), X, 0.6)
    np.testing.assert_allclose(got.x0, want.x0, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.eps, want.eps, rtol=1e-5, atol=1e-5)


def test_momentum_goes_from_call_to_call():
    """A draw of three calls is the same as three predictions by hand, the first without memory."""
    process, den = Linear(), apg(4.0, 0.2, -0.6)(mixture())
    table, x, memory = tabulate(ddim(process, uniform(process, 3))), jnp.asarray(X), ()
    for i in range(3):
        pred = ASK(den, x, table.t[i].astype(np.float32), COND._replace(memory=memory))
        x, memory = table.x0[i] * pred.x0 + table.eps[i] * pred.eps, pred.memory
    drawn = draw(den, table, range(6), (5,), cond=COND, start=X)
    np.testing.assert_allclose(drawn, x, rtol=1e-4, atol=1e-4)
    without = draw(apg(4.0, 0.2)(mixture()), table, range(6), (5,), cond=COND, start=X)
    assert abs(drawn - without).max() > 0.01


def test_memory_is_of_each_image():
    process, den = Linear(), apg(4.0, 0.0, -0.6, 1.0)(mixture())
    table = tabulate(dpmpp_2m(process, uniform(process, 5)))
    whole = draw(den, table, range(6), (5,), cond=COND)
    part = draw(den, table, range(4, 6), (5,), cond=Cond(LABEL[4:]))
    np.testing.assert_allclose(part, whole[4:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("around", [cfg(2.0), upsample_guidance(2), apg(2.0), lambda den: autoguidance(den, 2.0)(den)])
def test_what_asks_other_batches_stands_inside_a_memory(around):
    with pytest.raises(ValueError, match="does not go around a lever with a memory"):
        around(apg(2.0)(mixture()))


@processes
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_autoguidance_of_gaussians(process, scale):
    """With the variance of the good and the mean of a bad model the guided mean moves away from the latter."""
    good, bad = (oracles.gaussian(process, mean, 0.5) for mean in (0.3, -0.1))
    pred = ASK(autoguidance(bad, scale)(good), X, 0.5, Cond())
    want = oracles.gaussian(process, 0.3 + (scale - 1) * 0.4, 0.5)(np.float64(X), 0.5)
    np.testing.assert_allclose(pred.x0, want.x0, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pred.eps, want.eps, rtol=1e-4, atol=1e-5)


def test_a_bad_model_of_another_process_is_asked_in_its_own():
    good, bad = oracles.gaussian(Linear(), 0.3, 0.5), oracles.gaussian(VP(), -0.1, 0.4)
    pred = ASK(autoguidance(bad, 2.0)(good), X, 0.5, Cond())
    want = ASK(autoguidance(oracles.gaussian(Linear(), -0.1, 0.4), 2.0)(good), X, 0.5, Cond())
    np.testing.assert_allclose(pred.x0, want.x0, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="of 0 classes"):
        autoguidance(mixture(), 2.0)(good)


@processes
@pytest.mark.parametrize("share", [0.7, 1.0])
def test_rescale_brings_back_the_contrast(process, share):
    good, _ = pair(process, 0.2)
    guided = ASK(cfg(4.0)(mixture(process)), X, 0.2)
    pred = ASK(under(mixture(process), [cfg(4.0), rescale(share)]), X, 0.2)
    ratio = np.std(good.x0, axis=1) / np.std(guided.x0, axis=1)
    np.testing.assert_allclose(pred.x0, guided.x0 * (share * ratio + 1 - share)[:, None], rtol=1e-5, atol=1e-6)
    if share == 1:
        np.testing.assert_allclose(np.std(pred.x0, axis=1), np.std(good.x0, axis=1), rtol=1e-5, atol=2e-7)


def test_rescale_goes_just_around_a_guidance():
    den = mixture()
    assert under(den, [apg(2.0), rescale()]).without is den
    for lever in (clip_x0(), interval()):
        with pytest.raises(ValueError, match="right after cfg"):
            rescale()(under(mixture(), [cfg(2.0), lever]))


@processes
@pytest.mark.parametrize(("low", "high"), [(0.0, np.inf), (0.3, 1.5), (2.0, np.inf), (0.0, 0.3)])
def test_interval(process, low, high):
    """Inside it is the lever, outside it is not there, bit for bit, at one time or at one for each image."""
    on, off = cfg(3.0)(mixture(process)), mixture(process)
    both = interval(low, high)(on)
    times = np.float32([0.02, 0.2, 0.3, 0.5, 0.7, 0.9999])
    for i, t in enumerate(times):
        inside = low < process.sigma(float(t)) / process.alpha(float(t)) <= high
        want, got = ASK(on if inside else off, X, t), ASK(both, X, t)
        np.testing.assert_array_equal(got.x0, want.x0)
        np.testing.assert_array_equal(got.eps, want.eps)
        mixed = ASK(both, X, times)
        np.testing.assert_allclose(mixed.x0[i], want.x0[i], rtol=1e-5, atol=1e-6)


def test_the_start_of_the_linear_path_is_above_every_noise_level():
    """sigma / alpha is infinite there: inside an interval without end, outside any other."""
    on, off = (ASK(den, X, 1.0).x0 for den in (cfg(3.0)(mixture()), mixture()))
    np.testing.assert_array_equal(ASK(interval(0.5)(cfg(3.0)(mixture())), X, 1.0).x0, on)
    np.testing.assert_array_equal(ASK(interval(0.5, 100.0)(cfg(3.0)(mixture())), X, 1.0).x0, off)


def test_an_interval_keeps_a_memory_while_it_is_off():
    """APG's from the last call inside; that of a lever further in goes on."""
    before = np.float32(np.random.default_rng(2).normal(size=X.shape))
    cond = COND._replace(memory=(before,))
    closed = interval(50.0)(apg(3.0, momentum=-0.5)(mixture()))
    np.testing.assert_array_equal(ASK(closed, X, 0.5, cond).memory[0], before)
    assert not np.any(ASK(closed, X, 0.5, COND).memory[0])
    inner = apg(3.0, momentum=-0.5)(mixture())
    passed = ASK(interval(50.0)(clip_x0()(inner)), X, 0.5, cond)
    np.testing.assert_array_equal(passed.memory[0], ASK(inner, X, 0.5, cond).memory[0])


def test_interval_is_for_the_lever_just_inside():
    with pytest.raises(ValueError, match="give it right after one"):
        interval(0.1)(mixture())


@register_dataclass
@dataclass(frozen=True)
class Counting:
    """A mixture that counts the images it is asked about where it runs."""

    count: Any = field(metadata={"static": True})

    process, classes, capabilities, consistent = Linear(), 3, frozenset({INSTANT}), True

    def __call__(self, x, t, s=None, cond=Cond()):
        jax.debug.callback(lambda x: self.count(len(x)), x)
        return mixture()(x, t, s, cond)


@pytest.mark.parametrize(("low", "high"), [(0.3, 2.0), (0.0, np.inf), (100.0, np.inf)])
def test_an_interval_of_ten_steps_costs_ten_calls_and_those_inside(low, high):
    """Counted on a stand-in, and counted where the compiled loop runs."""
    table = table_at(SAMPLERS["ddim"], Linear(), 10)
    noise = table.t / np.maximum(1 - table.t, 1e-30)
    inside = int(((noise > low) & (noise <= high)).sum())
    assert passes(under(mixture(), [cfg(3.0), interval(low, high)]), table) == 10 + inside
    asked = []
    den = under(Counting(asked.append), [cfg(3.0), interval(low, high)])
    draw(den, table, range(6), (5,), cond=COND).block_until_ready()
    jax.effects_barrier()
    assert sum(asked) == 6 * (10 + inside)


def test_a_second_network_is_counted():
    table = tabulate(ddim(Linear(), uniform(Linear(), 4)))
    assert passes(autoguidance(mixture(), 2.0)(mixture()), table) == 8
    assert passes(under(mixture(), [cfg(2.0), autoguidance(mixture(), 2.0)]), table) == 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cfg(np.nan), "cfg.scale is a number"),
        (lambda: cfg("3"), "cfg.scale is a number"),
        (lambda: cfg_pp(1.5), r"cfg_pp.strength is a number in \[0, 1\]: got 1.5"),
        (lambda: apg(2.0, radius=0.0), "apg.radius is a number above 0"),
        (lambda: rescale(np.inf), "rescale.share is a number"),
        (lambda: apg(2.0, radius="a"), "apg.radius is a number above 0"),
        (lambda: interval(2.0, 1.0), "low < high"),
        (lambda: interval("a"), "interval.low is a number"),
    ],
)
def test_settings_may_be_of_numpy_and_those_that_make_no_sense_are_refused(make, message):
    assert cfg(np.float32(2.0))(mixture()).scale == cfg(np.arange(3)[2])(mixture()).scale == 2.0
    with pytest.raises(ValueError, match=message):
        make()
