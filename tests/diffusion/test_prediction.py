"""What raw outputs mean: round trips, the formulas of algorithms.md 0.3 written out, and the table of A5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import EPS, SCORE, VE, VELOCITY, VP, X0, Cosine, Discrete, Linear, Shifted, V, edm

PROCESSES = [Linear(), VP(), Cosine(), VE(), VE(geometric=True), Shifted(), Discrete((0.1, 0.2, 0.3))]
KINDS = {"x0": X0, "eps": EPS, "v": V, "velocity": VELOCITY, "score": SCORE, "edm": edm(0.5), "edm2": edm(1.7)}
T = np.linspace(0.05, 0.95, 7)[:, None]
RNG = np.random.default_rng(0)
CLEAN, NOISE = RNG.standard_normal((2, 7, 5))

processes = pytest.mark.parametrize("process", PROCESSES, ids=str)
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def state(process):
    return process.alpha(T) * CLEAN + process.sigma(T) * NOISE


@processes
@kinds
def test_round_trip(process, kind):
    raw = kind.encode(process, T, CLEAN, NOISE)
    x0, eps = kind.decode(process, T, state(process), raw)
    assert x0.dtype == eps.dtype == np.float64
    np.testing.assert_allclose(x0, CLEAN, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(eps, NOISE, rtol=1e-9, atol=1e-11)


@processes
@kinds
def test_any_output_is_consistent_with_the_state(process, kind):
    """alpha x0 + sigma eps = x whatever the network says."""
    x, raw = state(process), RNG.standard_normal((7, 5))
    x0, eps = kind.decode(process, T, x, raw)
    a, s = process.alpha(T), process.sigma(T)
    scale = np.abs(a * x0) + np.abs(s * eps)
    assert (np.abs(a * x0 + s * eps - x) <= 1e-13 * scale).all()


LONGHAND = {
    "x0": lambda a, s, da, ds, x, p: (p, (x - a * p) / s),
    "eps": lambda a, s, da, ds, x, p: ((x - s * p) / a, p),
    "v": lambda a, s, da, ds, x, p: ((a * x - s * p) / (a**2 + s**2), (s * x + a * p) / (a**2 + s**2)),
    "velocity": lambda a, s, da, ds, x, p: ((ds * x - s * p) / (a * ds - s * da), (a * p - da * x) / (a * ds - s * da)),
    "score": lambda a, s, da, ds, x, p: ((x + s**2 * p) / a, -s * p),
}


@processes
@pytest.mark.parametrize("name", LONGHAND)
def test_longhand(process, name):
    x, raw = state(process), RNG.standard_normal((7, 5))
    numbers = (f(T) for f in (process.alpha, process.sigma, process.dalpha, process.dsigma))
    for got, want in zip(KINDS[name].decode(process, T, x, raw), LONGHAND[name](*numbers, x, raw), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11)


def test_velocity_on_the_linear_path():
    x, u = RNG.standard_normal((2, 7, 5))
    x0, eps = VELOCITY.decode(Linear(), T, x, u)
    np.testing.assert_allclose(x0, x - T * u, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(eps, x + (1 - T) * u, rtol=1e-12, atol=1e-13)


@processes
def test_velocity_is_the_slope_of_the_path(process):
    """u = alpha' x0 + sigma' eps = d/dt (alpha x0 + sigma eps)."""
    step = 1e-5
    up, down = (process.alpha(t) * CLEAN + process.sigma(t) * NOISE for t in (T + step, T - step))
    got = VELOCITY.encode(process, T, CLEAN, NOISE)
    np.testing.assert_allclose(got, (up - down) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma_data", [0.5, 1.7])
@pytest.mark.parametrize("process", [VE(), VE(geometric=True)], ids=str)
def test_edm_is_the_published_table_where_alpha_is_one(process, sigma_data):
    kind, sigma = edm(sigma_data), process.sigma(T)
    x, raw = state(process), RNG.standard_normal((7, 5))
    norm = np.sqrt(sigma**2 + sigma_data**2)
    c_skip, c_out = sigma_data**2 / norm**2, sigma * sigma_data / norm
    np.testing.assert_allclose(kind.input_scale(process, T), 1 / norm, rtol=1e-12)
    np.testing.assert_allclose(kind.clock(process, T), np.log(sigma) / 4, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(kind.decode(process, T, x, raw)[0], c_skip * x + c_out * raw, rtol=1e-10, atol=1e-12)


@processes
@pytest.mark.parametrize("sigma_data", [0.5, 1.7])
def test_edm_input_and_target_have_unit_variance(process, sigma_data):
    kind = edm(sigma_data)
    a, b = kind.target(process, T)
    np.testing.assert_allclose((a * sigma_data) ** 2 + b**2, 1.0, rtol=1e-12)
    variance = (process.alpha(T) * sigma_data) ** 2 + process.sigma(T) ** 2
    np.testing.assert_allclose(kind.input_scale(process, T) ** 2 * variance, 1.0, rtol=1e-12)


@processes
def test_edm_target_is_minus_v_of_the_unit_variance_process(process):
    """Algorithms.md A5: the target of F is -v of the VP process on x0 / sigma_data with the same sigma/alpha."""
    sigma_data = 0.5
    n = np.hypot(process.alpha(T) * sigma_data, process.sigma(T))
    a, s = process.alpha(T) * sigma_data / n, process.sigma(T) / n
    want = -(a * NOISE - s * CLEAN / sigma_data)
    np.testing.assert_allclose(edm(sigma_data).encode(process, T, CLEAN, NOISE), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [V, VELOCITY, edm(0.5)], ids=["v", "velocity", "edm"])
@pytest.mark.parametrize("t", [1.0, 0.0])
def test_finite_at_both_ends_of_the_linear_path(kind, t):
    """At t = 1 alpha is 0 and at t = 0 sigma is: neither is divided by."""
    x, raw, process = jnp.asarray(CLEAN, jnp.float32), jnp.asarray(NOISE, jnp.float32), Linear()
    x0, eps = jax.jit(lambda t: kind.decode(process, t, x, raw))(jnp.float32(t))
    if t == 1.0:
        np.testing.assert_allclose(eps, x, atol=1e-6)
        assert np.isfinite(x0).all()
    else:
        np.testing.assert_allclose(x0, x, atol=1e-6)
        assert np.isfinite(eps).all()
    assert np.isfinite(kind.input_scale(process, jnp.float32(t)))
    assert np.isfinite(kind.clock(process, jnp.float32(t)))


@pytest.mark.parametrize("process", [Linear(), Shifted(), VE(), VP()], ids=str)
def test_edm_asks_the_same_at_pure_noise_as_just_before(process):
    """Its clock, log(sigma/alpha) / 4, is infinite at alpha = 0: it stops where training can still reach it."""
    kind, first = edm(0.5), process.snr_ends[0]
    assert kind.clock(process, 1.0) == kind.clock(process, first) == pytest.approx(-process.lam(first) / 4)
    for t in (jnp.float32(1.0), jnp.float32(0.5), jnp.float32(0.0)):
        clock, slope = jax.jvp(lambda t: kind.clock(process, t), (t,), (jnp.float32(1.0),))
        assert np.isfinite([clock, slope]).all()


def test_edm_needs_a_standard_deviation():
    with pytest.raises(ValueError, match=r"EDM\.sigma_data is a number"):
        edm(0.0)
