"""Upsample guidance: nothing to move where the two sizes agree, exact pooled predictions where they do not."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import register_dataclass

from fewstep.diffusion import VE, VELOCITY, VP, Cond, Cosine, Denoiser, Linear, oracles
from fewstep.diffusion.arrays import namespace, over, pooled, repeated
from fewstep.diffusion.denoiser import INSTANT, Pred
from fewstep.diffusion.levers import (
    attention_scale,
    autoguidance,
    cfg,
    enlarged,
    interval,
    skip_tuning,
    under,
    upsample_guidance,
)
from fewstep.diffusion.networks import DiT, UNet, split
from fewstep.samplers import ddim, draw, tabulate, uniform
from fewstep.samplers.cost import passes

SMALL, M = 4, 2
LARGE = SMALL * M
RNG = np.random.default_rng(0)
processes = pytest.mark.parametrize("process", [Linear(), VP(), VE(), Cosine()], ids=str)


ASK = jax.jit(lambda den, x, t: den(x, t))


def smooth(size, reach):
    """A covariance (size^2, size^2) of a field on a grid."""
    place = np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij"), -1).reshape(-1, 2)
    return 0.3 * np.exp(-((place[:, None] - place[None]) ** 2).sum(-1) / (2 * reach**2)) + 0.02 * np.eye(size**2)


MEANS = np.kron(np.eye(SMALL), np.full((1, M), 1 / M))
POOL = np.kron(MEANS, MEANS)  # (16, 64): means of M x M pixels
DETAIL = np.eye(LARGE**2) - M**2 * POOL.T @ POOL
COARSE = smooth(SMALL, 1.5)
# Detail that is independent of the means: what is known of the means of x then tells all of the means of x0.
FINE = M**4 * POOL.T @ COARSE @ POOL + 0.1 * DETAIL @ smooth(LARGE, 1.0) @ DETAIL.T


@register_dataclass
@dataclass(frozen=True)
class Field:
    """A Gaussian random field at two sizes, N(mean, FINE) and N(mean, COARSE); `wrong` is added to what is predicted of
    the large one's means."""

    process: Any = field(metadata={"static": True})
    mean: float = 0.2
    wrong: float = 0.0

    consistent, classes, capabilities, attends = True, 0, frozenset({INSTANT}), False

    def __call__(self, x, t, s=None, cond=Cond()):
        xp, large = namespace(x), x.shape[1] == LARGE
        values, vectors = np.linalg.eigh(FINE if large else COARSE)
        alpha, sigma = self.process.alpha(over(t, x[:, :, 0, 0])), self.process.sigma(over(t, x[:, :, 0, 0]))
        along = (xp.reshape(x, (len(x), -1)) - alpha * self.mean) @ vectors
        var = alpha**2 * values + sigma**2
        x0 = self.mean + (alpha * values * along / var) @ vectors.T
        eps = (sigma * along / var) @ vectors.T
        if large:  # another prediction of the same state
            x0, eps = x0 + sigma * self.wrong, eps - alpha * self.wrong
        return Pred(xp.reshape(x0, x.shape), xp.reshape(eps, x.shape))


def states(process, t, count=3):
    """x_t of large images, float64."""
    x0 = 0.2 + RNG.multivariate_normal(np.zeros(LARGE**2), FINE, count)
    return (process.alpha(t) * x0 + process.sigma(t) * RNG.normal(size=x0.shape)).reshape(count, LARGE, LARGE, 1)


def on64(den, x, t):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, ASK(den, x, t))


def detail(x):
    """What is left of images without the means of M x M pixels."""
    return x - np.repeat(np.repeat(pooled(x, M), M, axis=1), M, axis=2)


@processes
@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_nothing_moves_where_both_sizes_agree(process, t):
    """The bracket of algorithms.md E2 vanishes for exact predictions of a field whose detail is independent of its
    means; for another prediction it does not."""
    x = states(process, t)
    plain, guided = (on64(den, x, t) for den in (Field(process), upsample_guidance(M)(Field(process))))
    np.testing.assert_allclose(guided.x0, plain.x0, atol=1e-7)  # to the rounding of the inverse of log-SNR
    np.testing.assert_allclose(guided.eps, plain.eps, atol=1e-7)
    off, back = (
        on64(den, x, t) for den in (Field(process, wrong=0.3), upsample_guidance(M)(Field(process, wrong=0.3)))
    )
    assert abs(off.x0 - plain.x0).max() > 0.01
    np.testing.assert_allclose(back.x0, plain.x0, atol=1e-7)
    np.testing.assert_allclose(back.eps, plain.eps, atol=1e-7)


@processes
@pytest.mark.parametrize("theta", [0.5, 1.0, 1.2])
def test_means_move_by_theta_and_the_pair_holds(process, theta):
    t = 0.4
    x, wrong = states(process, t), Field(process, wrong=0.3)
    plain, guided = (on64(den, x, t) for den in (wrong, upsample_guidance(M, theta)(wrong)))
    exact = on64(Field(process), x, t)
    want = pooled(plain.x0, M) + theta * (pooled(exact.x0, M) - pooled(plain.x0, M))
    np.testing.assert_allclose(pooled(guided.x0, M), want, atol=1e-7)
    np.testing.assert_allclose(detail(guided.x0), detail(plain.x0), atol=1e-12)
    alpha, sigma = process.alpha(t), process.sigma(t)
    np.testing.assert_allclose(alpha * guided.x0 + sigma * guided.eps, x, atol=1e-7)


@pytest.mark.parametrize("t", [1e-3, 1.5e-3, 3e-3, 0.999, 1.0])
def test_the_pair_holds_at_the_ends_of_a_process(t):
    """Where VP's own noise is less than its last, of which means have half."""
    x, process = states(VP(), t), VP()
    guided = on64(upsample_guidance(M)(Field(process, wrong=0.3)), x, t)
    np.testing.assert_allclose(process.alpha(t) * guided.x0 + process.sigma(t) * guided.eps, x, atol=1e-7)


@register_dataclass
@dataclass(frozen=True)
class Jumps:
    """N(0.2, 0.5^2) elements at any size, which is consistent where their means are N(0.2, 0.25^2): answers jumps."""

    process: Any = field(metadata={"static": True})

    consistent, classes, capabilities, levels, attends = True, 0, frozenset({"instant", "jump"}), 0, False

    def __call__(self, x, t, s=None, cond=Cond()):
        return oracles.gaussian(self.process, 0.2, 0.5 if x.shape[1] == LARGE else 0.5 / M)(x, t, s)


@processes
def test_nothing_moves_of_jumps_either(process):
    x = states(process, 0.8)
    exact_end = process in (Linear(), VE())  # others end where their own noise does, which is more than that of means
    for s in (0.8, 0.3, *([0.0] if exact_end else [])):
        plain, guided = (jumped(den, x, 0.8, s) for den in (Jumps(process), upsample_guidance(M)(Jumps(process))))
        np.testing.assert_allclose(guided.x0, plain.x0, atol=1e-6)
        np.testing.assert_allclose(guided.eps, plain.eps, atol=1e-6)


def jumped(den, x, t, s):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(lambda den, x, t, s: den(x, t, s))(den, x, t, s))


def test_a_bad_network_and_what_is_told_reach_the_small_call():
    """autoguidance inside: a bad network that is the good one changes nothing; skips and attention are told twice."""
    process, x = Linear(), states(Linear(), 0.5)
    wrong = Field(process, wrong=0.3)
    both = under(wrong, [autoguidance(wrong, 3.0), upsample_guidance(M)])
    np.testing.assert_allclose(on64(both, x, 0.5).x0, on64(upsample_guidance(M)(wrong), x, 0.5).x0, atol=1e-9)
    seen = []

    def hears(params, x, t, d, cond, key):
        seen.append((x.shape[1], cond.skip is not None, cond.attention is not None))
        return x

    den = Denoiser.from_function(hears, 0.0, process, VELOCITY, levels=2, attends=True)
    under(den, [skip_tuning(0.5), attention_scale(), upsample_guidance(M)])(x.astype(np.float32), 0.5)
    assert set(seen) == {(LARGE, True, True), (SMALL, True, True)}


@pytest.mark.slow
def test_a_real_network_runs_at_both_sizes():
    """A U-Net and a transformer, trained at 4x4, at 8x8."""
    x = states(Linear(), 0.5).astype(np.float32)
    for build in (
        partial(UNet, (SMALL, SMALL, 1), base=4, blocks=1, attention=(2,)),
        partial(DiT, (SMALL, SMALL, 1), width=8, depth=1, heads=2),
    ):
        apply, params = split(build(rngs=nnx.Rngs(0)))
        params = jax.tree.map(lambda a: a + np.float32(0.1), params)
        den = Denoiser.from_function(apply, params, Linear(), VELOCITY, attends=True)
        guided = ASK(under(den, [attention_scale(), upsample_guidance(M)]), x, 0.5)
        assert guided.x0.shape == x.shape
        assert np.isfinite(guided.x0).all()


def test_means_of_repeats_are_what_was_repeated():
    small = RNG.normal(size=(2, 3, 5, 2))
    np.testing.assert_allclose(pooled(repeated(small, 3), 3), small, rtol=1e-6)
    x = RNG.normal(size=(1, LARGE, LARGE, 1))
    np.testing.assert_allclose(pooled(x, M).ravel(), POOL @ x.ravel(), atol=1e-12)


def test_eta_is_the_share_of_the_way_from_noise():
    x = states(Linear(), 0.5).astype(np.float32)
    wrong = Field(Linear(), wrong=0.3)
    for t, on in ((0.95, True), (0.75, True), (0.65, False), (0.1, False)):
        plain, guided = (ASK(den, x, t) for den in (wrong, upsample_guidance(M, 1.0, 0.3)(wrong)))
        assert np.array_equal(plain.x0, guided.x0) != on


def test_the_cost_is_a_part_of_a_call():
    """1 + 1/m^2 while it is on, 1 while it is not; with guidance by classes twice that; in an interval too."""
    process = Linear()
    table = tabulate(ddim(process, np.array([1.0, 0.9, 0.8, 0.4, 0.2, 0.0])))
    assert passes(upsample_guidance(2)(Field(process)), table) == 5 * 1.25
    assert passes(upsample_guidance(4)(Field(process)), table) == 5 * (1 + 1 / 16)
    assert passes(upsample_guidance(2, 0.0)(Field(process)), table) == 5
    assert passes(upsample_guidance(2, 1.0, 0.3)(Field(process)), table) == 5 + 3 / 4
    assert passes(under(Field(process), [upsample_guidance(2), interval(1.0)]), table) == 5 + 3 / 4
    labelled = replace_classes(Field(process))
    assert passes(under(labelled, [upsample_guidance(2), cfg(2.0)]), table) == 2 * 5 * 1.25
    assert passes(under(labelled, [cfg(2.0), upsample_guidance(2)]), table) == 2 * 5 * 1.25


def replace_classes(den):
    class Labelled(type(den)):
        classes = 3

    return register_dataclass(dataclass(frozen=True)(Labelled))(den.process)


def test_images_are_larger_by_all_factors():
    den = under(Field(Linear()), [upsample_guidance(2), upsample_guidance(3)])
    assert enlarged((4, 5, 1), den) == (24, 30, 1)
    assert enlarged((4, 5, 1), Field(Linear())) == (4, 5, 1)


def test_a_draw_has_the_means_of_the_small_field():
    """Of a network that is wrong about large images: without the lever their means are, with it they are not."""
    process = Linear()
    table, wrong = tabulate(ddim(process, uniform(process, 12))), Field(process, wrong=-0.6)
    size = range(512), (LARGE, LARGE, 1)
    drawn = {theta: draw(upsample_guidance(M, theta)(wrong), table, *size) for theta in (0.0, 1.0)}
    exact = draw(Field(process), table, *size)
    np.testing.assert_allclose(drawn[1.0], exact, atol=2e-3)
    assert abs(np.mean(drawn[0.0]) - np.mean(exact)) > 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: upsample_guidance(1.5), "m is a whole number"),
        (lambda: upsample_guidance(1), r"m is a whole number in \[2, 64\]"),
        (lambda: upsample_guidance(2, np.nan), "theta is a number"),
        (lambda: upsample_guidance(2, 1.0, 1.5), r"eta is a number in \[0, 1\]"),
        (lambda: upsample_guidance(np.inf), "m is a whole number"),
        (lambda: enlarged((2,), upsample_guidance(2)(Field(Linear()))), "is for images"),
        (lambda: upsample_guidance(3)(Field(Linear()))(np.zeros((1, 8, 8, 1)), 0.5), "divide by 3"),
        (lambda: upsample_guidance(2)(Field(Linear()))(np.zeros((1, 8)), 0.5), "divide by 2"),
    ],
)
def test_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
