"""Levers: what they change, what they leave alone bit for bit, and what they cost."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from fewstep.diffusion import LEVERS, VE, VP, Cond, Linear, cfg, clip_x0, oracles
from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import INSTANT, JUMP

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
LABEL = jnp.array([0, 1, 2, 0, 1, 2], jnp.int32)
MEANS, STDS = np.array([-1.0, 0.4, 2.0]), np.array([0.3, 0.5, 0.7])
ASK = jax.jit(lambda den, x, t, cond=Cond(): den(x, t, None, cond))

processes = pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=str)


def states(process, t):
    return jnp.asarray(X * np.float32(np.hypot(process.alpha(t), process.sigma(t))))


@register_dataclass
@dataclass(frozen=True)
class ByLabel:
    """N(means[label], std^2) data: all classes, the null class (the last) too, share one covariance."""

    process: Any = field(metadata={"static": True})
    means: Any
    std: float

    consistent = True
    classes = property(lambda self: len(self.means) - 1)
    capabilities = frozenset({INSTANT, JUMP})

    def __call__(self, x, t, s=None, cond=Cond()):
        mean = over(self.means[cond.label], x)
        return oracles.gaussian(self.process, mean, self.std)(x, t, s)


@dataclass(frozen=True)
class Spy:
    """The mixture oracle, with a record of the calls."""

    inner: Any
    calls: list

    process = property(lambda self: self.inner.process)
    classes = property(lambda self: self.inner.classes)
    capabilities = property(lambda self: self.inner.capabilities)
    consistent = property(lambda self: self.inner.consistent)

    def __call__(self, x, t, s=None, cond=Cond()):
        self.calls.append((x, t, s, cond))
        return self.inner(x, t, s, cond)


@processes
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_clip_x0(process, t):
    inner = oracles.mixture(process, MEANS, STDS)
    x = states(process, t)
    plain, clipped = ASK(inner, x, t), ASK(clip_x0(-0.5, 0.45)(inner), x, t)
    np.testing.assert_array_equal(clipped.x0, np.clip(plain.x0, np.float32(-0.5), np.float32(0.45)))
    assert clipped.var is not None
    kept = (plain.x0 >= -0.5) & (plain.x0 <= 0.45)
    assert not kept.all()
    np.testing.assert_array_equal(clipped.eps[kept], plain.eps[kept])
    a, s = process.alpha(t), process.sigma(t)
    scale = np.abs(x) + np.abs(a * clipped.x0) + np.abs(s * clipped.eps)
    assert (np.abs(a * clipped.x0 + s * clipped.eps - x) <= 2e-6 * scale).all()


def test_clip_x0_leaves_jumps_that_end_between():
    """Their x0 is a point that the path leads through, and may lie beyond the images."""
    den = oracles.gaussian(Linear(), 0.2, 0.5)
    x = jnp.float32([[3.0], [-3.0]])
    times = jnp.float32([0.9, 0.9])
    for s, stays in ((0.4, True), (0.0, False), (0.9, False)):
        plain, clipped = den(x, times, jnp.full(2, s)), clip_x0(0.15, 0.25)(den)(x, times, jnp.full(2, s))
        assert (clipped.x0 == plain.x0).all() == stays


def test_clip_x0_beyond_all_predictions_changes_nothing():
    inner, x = oracles.gaussian(VP(), 0.1, 0.2), states(VP(), 0.5)
    plain, clipped = ASK(inner, x, 0.5), ASK(clip_x0(-10.0, 10.0)(inner), x, 0.5)
    np.testing.assert_array_equal(clipped.x0, plain.x0)
    np.testing.assert_array_equal(clipped.eps, plain.eps)


@processes
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("t", [0.1, 0.8])
def test_cfg_moves_the_mean_of_equal_gaussians(process, scale, t):
    """Guiding N(m_u, S) by N(m_c, S) is exactly N(m_u + w (m_c - m_u), S) (algorithms.md E3)."""
    means, null = jnp.array([-1.0, 0.4, 2.0, 0.25]), 0.25
    x = states(process, t)
    got = ASK(cfg(scale)(ByLabel(process, means, 0.5)), x, t, Cond(LABEL))
    moved = null + scale * (np.asarray(means, np.float64)[LABEL] - null)
    want = oracles.gaussian(process, moved[:, None], 0.5)(np.asarray(x, np.float64), t)
    np.testing.assert_allclose(got.x0, want.x0, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(got.eps, want.eps, rtol=1e-4, atol=2e-5)
    assert got.var is None


def test_cfg_at_scale_one_is_no_lever_bit_for_bit():
    inner, x = oracles.mixture(VP(), MEANS, STDS), states(VP(), 0.5)
    got, want = cfg(1.0)(inner)(x, 0.5, None, Cond(LABEL)), inner(x, 0.5, None, Cond(LABEL))
    np.testing.assert_array_equal(got.x0, want.x0)
    np.testing.assert_array_equal(got.eps, want.eps)


@processes
def test_cfg_at_scale_zero_is_unconditional(process):
    inner, x = oracles.mixture(process, MEANS, STDS), states(process, 0.5)
    got = ASK(cfg(0.0)(inner), x, 0.5, Cond(LABEL))
    for want in (ASK(inner, x, 0.5), ASK(inner, x, 0.5, Cond(jnp.full(6, 3, jnp.int32)))):
        np.testing.assert_allclose(got.x0, want.x0, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got.eps, want.eps, rtol=1e-5, atol=1e-5)


def test_cfg_without_labels_is_unconditional():
    inner, x = oracles.mixture(VP(), MEANS, STDS), states(VP(), 0.5)
    got, want = ASK(cfg(3.0)(inner), x, 0.5), ASK(inner, x, 0.5)
    np.testing.assert_allclose(got.x0, want.x0, rtol=1e-5, atol=1e-6)


def test_cfg_asks_once_for_the_doubled_batch():
    spy = Spy(oracles.mixture(VP(), MEANS, STDS), [])
    x, skip = states(VP(), 0.5), jnp.arange(12.0).reshape(6, 2)
    t = jnp.linspace(0.2, 0.7, 6)
    cfg(2.0)(spy)(x, t, None, Cond(LABEL, skip))
    ((asked, times, s, cond),) = spy.calls
    np.testing.assert_array_equal(asked, np.concatenate([x, x]))
    np.testing.assert_array_equal(times, np.concatenate([t, t]))
    assert s is None
    np.testing.assert_array_equal(cond.label, [*LABEL, *[3] * 6])
    np.testing.assert_array_equal(cond.skip, np.concatenate([skip, skip]))


def test_cfg_refuses_an_unconditional_model():
    with pytest.raises(ValueError, match="without labels"):
        cfg(2.0)(oracles.gaussian(VP()))


def test_levers_are_transparent_and_hold_their_settings_as_leaves():
    inner = oracles.mixture(VP(), MEANS, STDS)
    for lever in (clip_x0(), cfg(2.0), lambda den: clip_x0()(cfg(2.0)(den))):
        den = lever(inner)
        assert (den.process, den.classes, den.capabilities, den.consistent) == (VP(), 3, frozenset({INSTANT}), True)
    traces = []

    @jax.jit
    def call(den, x):
        traces.append(1)
        return den(x, 0.5, None, Cond(LABEL)).x0

    first, second = call(cfg(1.5)(inner), X), call(cfg(2.5)(inner), X)
    assert len(traces) == 1
    assert not np.allclose(first, second)
    assert set(LEVERS) >= {"cfg", "clip_x0"}


def test_clipping_may_leave_eps_as_it_was():
    """As Analytic-DPM's code does for DDIM; alpha x0 + sigma eps is then no longer x."""
    den = oracles.gaussian(VP(), 0.0, 2.0)
    x = np.linspace(-4, 4, 9)[:, None]
    plain, whole, left = (d(x, 0.3) for d in (den, clip_x0()(den), clip_x0(rebuild=False)(den)))
    np.testing.assert_array_equal(left.x0, whole.x0)
    np.testing.assert_array_equal(left.eps, plain.eps)
    assert abs(whole.eps - plain.eps).max() > 0.1
    assert (clip_x0()(den).consistent, clip_x0(rebuild=False)(den).consistent) == (True, False)
