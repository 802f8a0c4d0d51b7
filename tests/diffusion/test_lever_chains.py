"""All levers by one contract: neutral settings change no bit, alpha x0 + sigma eps stays x, settings are leaves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fewstep.diffusion import VE, VELOCITY, VP, Cond, Cosine, Denoiser, Linear
from fewstep.diffusion.arrays import over
from fewstep.diffusion.levers import (
    LEVERS,
    apg,
    attention_scale,
    autoguidance,
    averaged_variance,
    cfg,
    cfg_pp,
    clip_x0,
    curvature,
    dynamic_threshold,
    freeu,
    interval,
    rescale,
    skip_tuning,
    under,
    upsample_guidance,
)
from fewstep.diffusion.networks import UNet, split
from fewstep.samplers import SAMPLERS, draw, table_at

SHAPE = (8, 8, 1)
LABEL = np.array([0, 1, 2, 0], np.int32)
X = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)


def cheap(params, x, t, d, cond, key):
    """A network that is no network, and hears everything that there is to tell."""
    told = 0.0 if cond.label is None else cond.label * 0.3
    for heard in (cond.skip, cond.low, cond.backbone):
        told = told if heard is None else told * heard.mean(1)
    told = told if cond.attention is None else told + cond.attention
    return jnp.tanh(params * x + jnp.roll(x, 1, axis=1) + over(told + jnp.zeros(len(x)), x))


def network(process=Linear(), slope=1.5):
    options = {"classes": 3, "levels": 2, "attends": True}
    return Denoiser.from_function(cheap, np.float32(slope), process, VELOCITY, **options)


BAD = network(slope=0.3)
# Settings that change nothing, and what is there without them; cfg_pp has none.
NEUTRAL = {
    "cfg": ([cfg(1.0)], []),
    "apg": ([apg(1.0)], []),
    "autoguidance": ([autoguidance(BAD, 1.0)], []),
    "rescale": ([cfg(3.0), rescale(0.0)], [cfg(3.0)]),
    "interval": ([cfg(3.0), interval()], [cfg(3.0)]),
    "clip_x0": ([clip_x0(-1e6, 1e6)], []),
    "dynamic_threshold": ([clip_x0(), dynamic_threshold()], [clip_x0()]),
    "skip_tuning": ([skip_tuning(1.0)], []),
    "freeu": ([freeu(1.0, 1.0, 1.0, 1.0)], []),
    "upsample_guidance": ([upsample_guidance(2, 0.0)], []),
    "attention_scale": ([attention_scale(0.0)], []),
    "curvature": ([curvature(1)], []),
    "averaged_variance": ([curvature(1), averaged_variance()], [curvature(1)]),
}
# What chains are made of: (levers, one that goes just around).
PARTS = [
    [cfg(3.0)], [cfg(2.0), rescale(0.7)], [cfg(4.0), interval(0.3, 2.0)], [autoguidance(BAD, 2.0)],
    [clip_x0(-0.5, 0.6)], [dynamic_threshold(0.9)], [skip_tuning(0.7), interval(0.5)], [freeu()],
    [upsample_guidance(2)], [attention_scale()], [curvature(2)],
]  # fmt: skip


def ask(den, x, t):
    return den(x, t, None, Cond(LABEL))


def test_every_lever_is_here():
    assert {*NEUTRAL, "cfg_pp"} == {*LEVERS}


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("t", [0.1, 0.8])
def test_a_neutral_setting_changes_no_bit(name, t):
    with jax.disable_jit():  # operation by operation: what is fused differently rounds differently
        with_it, without = (ask(under(network(), levers), X, np.float32(t)) for levers in NEUTRAL[name])
    np.testing.assert_array_equal(with_it.x0, without.x0)
    np.testing.assert_array_equal(with_it.eps, without.eps)


@pytest.mark.slow
@pytest.mark.parametrize("lever", [skip_tuning(1.0), skip_tuning((1, 1)), freeu(1, 1, 1, 1), attention_scale(0)])
def test_no_bit_of_a_real_network_changes_either(lever):
    apply, params = split(UNet(SHAPE, 3, base=8, mult=(1, 2), blocks=1, attention=(4,), rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + np.float32(0.1 * rng.standard_normal(a.shape)), params)
    den = Denoiser.from_function(apply, params, Linear(), VELOCITY, classes=3, levels=2, attends=True)
    asked, x = jax.jit(ask), np.tile(X, (1, 2, 2, 1))  # of another number of tokens than in training
    with_it, without = asked(lever(den), x, 0.5), asked(den, x, 0.5)
    np.testing.assert_array_equal(with_it.x0, without.x0)
    np.testing.assert_array_equal(with_it.eps, without.eps)
    assert np.abs(with_it.x0).max() > 0.1


AWAY = PARTS[3]  # which stands inside upsample_guidance
CHAINS = [[PARTS[(2 * k + 3 * j) % len(PARTS)] for j in range(4)] for k in range(len(PARTS))]
CHAINS = [sorted(chain, key=lambda part: part is not AWAY) for chain in CHAINS]


def test_every_part_is_in_some_chains():
    assert all(sum(part in chain for chain in CHAINS) == 4 for part in PARTS)


@pytest.mark.parametrize(
    ("process", "chains"),
    [
        (Linear(), CHAINS[::4]),
        pytest.param(VP(), CHAINS[1::4], marks=pytest.mark.slow),
        (VE(), CHAINS[2:3]),
        (Cosine(), CHAINS[5:6]),
    ],
)
def test_the_pair_belongs_together_after_any_chain(process, chains):
    """alpha x0 + sigma eps = x to rounding, from the start of the process to its end, at a time for each image and at
    one for all; every second chain ends with a lever that has a memory, in an interval."""
    asked = jax.jit(ask)
    for i, parts in enumerate(chains):
        chain = [lever for part in parts for lever in part] + [apg(3.0, 0.2, -0.5, 5.0), interval(0.1, 9.0)] * (i % 2)
        den = under(network(process), chain)
        assert den.consistent
        start, end = process.ends
        for t in (np.float32([start, 0.6, 0.1, end + 0.0005]), np.float32(0.6)):
            alpha, sigma = (over(np.broadcast_to(f(t), 4), X) for f in (process.alpha, process.sigma))
            x = X * np.hypot(alpha, sigma).astype(np.float32)
            pred = asked(den, x, t)
            scale = np.abs(x) + np.abs(alpha * pred.x0) + np.abs(sigma * pred.eps)
            off = np.abs(alpha * pred.x0 + sigma * pred.eps - x).max((1, 2, 3)) / scale.max((1, 2, 3))
            assert off.max() <= 2e-5, (i, t, off)


@pytest.mark.slow
def test_a_memory_goes_through_intervals_within_intervals():
    """And a draw is the calls one by one."""
    process, table = Linear(), table_at(SAMPLERS["ddim"], Linear(), 5)
    for inside in ([skip_tuning(0.8), interval(0.3, 3.0)], [cfg(2.0), interval(0.3, 3.0)]):
        den = under(network(process), [*inside, apg(3.0, 0.1, -0.5, 2.0), interval(0.2, 4.0)])
        x, memory = jnp.asarray(X), ()
        for i in range(table.nfe):
            pred = jax.jit(lambda den, x, t, memory: den(x, t, None, Cond(LABEL, memory=memory)))(
                den, x, np.float32(table.t[i]), memory
            )
            x, memory = table.x0[i] * pred.x0 + table.eps[i] * pred.eps, pred.memory
        np.testing.assert_allclose(draw(den, table, range(4), SHAPE, cond=Cond(LABEL), start=X), x, atol=1e-4)


def test_a_window_of_what_is_told_costs_no_second_network():
    traces = []

    def traced(params, x, t, d, cond, key):
        traces.append(1)
        return cheap(params, x, t, d, cond, key)

    den = Denoiser.from_function(traced, 1.0, Linear(), VELOCITY, classes=3, levels=2, attends=True)
    windowed = under(den, [skip_tuning(0.5), interval(0.3, 2.0), freeu(), interval(0.5), attention_scale(), interval()])
    got = jax.jit(ask)(windowed, X, np.float32([0.1, 0.5, 0.5, 0.9]))
    assert len(traces) == 1
    for i, (t, levers) in enumerate(
        [(0.1, []), (0.5, [skip_tuning(0.5), freeu()]), (0.5, [skip_tuning(0.5), freeu()]), (0.9, [freeu()])]
    ):
        want = ask(under(network(slope=1.0), [*levers, attention_scale()]), X, np.float32(t))
        np.testing.assert_allclose(got.x0[i], want.x0[i], rtol=1e-5, atol=1e-5)


def test_what_digests_are_of_has_one_order():
    """A second network is static in a chain, and the sets in it have none."""
    den = Denoiser.from_function(cheap, 1.0, Linear(), VELOCITY, capabilities=frozenset(["zero", "jump", "instant"]))
    assert "capabilities=['instant', 'jump', 'zero']" in repr(den.model)


def test_those_that_part_the_pair_say_so():
    for lever in (cfg_pp(0.5), clip_x0(rebuild=False)):
        den = lever(network())
        assert not den.consistent
        assert not under(den, [skip_tuning(0.5), dynamic_threshold(0.5)]).consistent


def test_what_clips_leaves_the_noise_of_a_parted_pair():
    """CFG++ takes it from the unconditional model, whatever becomes of x0."""
    parted = ask(cfg_pp(0.5)(network()), X, 0.5)
    clipped = ask(under(network(), [cfg_pp(0.5), clip_x0(-0.1, 0.1)]), X, 0.5)
    np.testing.assert_array_equal(clipped.eps, parted.eps)
    assert np.abs(clipped.x0).max() <= np.float32(0.1)


@pytest.mark.parametrize(
    "lever",
    [
        cfg, apg, cfg_pp, skip_tuning, attention_scale, rescale, dynamic_threshold, lambda w: autoguidance(BAD, w),
        partial(upsample_guidance, 2), lambda w: interval(0.0, 2 * w), lambda w: freeu(w, 1.0, w, 1.0),
    ],
)  # fmt: skip
def test_settings_are_leaves(lever):
    """Other settings are the same program."""
    around = [cfg(2.0)] if lever is rescale else [skip_tuning(0.5)]
    traces, found = [], []

    @jax.jit
    def call(den):
        traces.append(1)
        return ask(den, 4 * X, 0.5).x0

    for setting in (0.2, 0.8):
        found.append(call(under(network(), [*around, lever(setting)])))
    assert len(traces) == 1
    assert not np.array_equal(*found)


def test_skip_factors_of_several_levers_multiply():
    seen = []

    def hears(params, x, t, d, cond, key):
        seen.append(cond)
        return x

    den = Denoiser.from_function(hears, 0.0, Linear(), VELOCITY, levels=3)
    under(den, [skip_tuning(0.5), skip_tuning((1.0, 2.0, 3.0)), freeu(1.1, 1.2, 0.9, 0.8)])(X, 0.5)
    (cond,) = seen
    np.testing.assert_allclose(cond.skip, np.tile([0.5, 1.5, 3.0], (4, 1)))
    np.testing.assert_allclose(cond.backbone, np.tile([1.1, 1.2, 1.0], (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(cond.low, np.tile([0.9, 0.8, 1.0], (4, 1)), rtol=1e-6)


@pytest.mark.parametrize("quantile", [0.5, 0.995, 1.0])
def test_dynamic_threshold(quantile):
    """Of one image after the other, in NumPy."""
    plain, bound = ask(network(), 3 * X, 0.5).x0, ask(dynamic_threshold(quantile)(network()), 3 * X, 0.5).x0
    for image, got in zip(np.asarray(plain), bound, strict=True):
        q = max(np.quantile(np.abs(image), quantile), 1.0)
        np.testing.assert_allclose(got, np.clip(image, -q, q) / q, rtol=1e-5, atol=1e-6)
    assert np.abs(plain).max() > 1.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (skip_tuning((0.5, 1.0, 1.0)), "rho has 3 factors: the skips of this network have 2 levels"),
        (lambda den: skip_tuning((0.5, 1.0), 0.9), "outer is where one number leads to"),
        (lambda den: under(den, [upsample_guidance(2), autoguidance(BAD, 2.0)]), "autoguidance goes inside upsample"),
        (lambda den: autoguidance(apg(2.0)(den), 2.0)(den), "a lever with a memory"),
        (lambda den: under(den, [curvature(1), averaged_variance(), interval(0.1)]), "only estimates a variance"),
        (lambda den: skip_tuning(np.nan), "skip_tuning.rho is a number"),
        (lambda den: freeu("a"), "freeu.b1 is a number"),
        (lambda den: dynamic_threshold(0.0), r"quantile is a number in \(0, 1\]"),
        (lambda den: skip_tuning(0.5)(plain_network()), "skip_tuning is for U-Nets"),
        (lambda den: freeu()(plain_network()), "freeu is for U-Nets"),
        (lambda den: attention_scale()(plain_network()), "this model's has none"),
        (lambda den: under(den, [curvature(), interval(0.1)]), "only estimates a variance"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make(network())


def plain_network():
    return Denoiser.from_function(cheap, 1.0, Linear(), VELOCITY)
