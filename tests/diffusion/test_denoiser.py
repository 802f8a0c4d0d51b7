"""Networks bound to parameters, and denoisers asked about another process's states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import EPS, VE, VP, X0, Cond, Cosine, Denoiser, Linear, Shifted, V, edm, oracles
from fewstep.diffusion.denoiser import INSTANT, JUMP, Under
from fewstep.diffusion.predict import predict_shape

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
STD = 0.5


def linear(params, x, t, d, cond, key):
    return params["gain"] * x


def noise_of_gaussian(params, x, t, d, cond, key):
    """E[eps | x] of N(0, std^2) data on VE."""
    sigma = VE().sigma(t)
    return sigma / (params["std"] ** 2 + sigma**2) * x


def test_a_function_is_a_denoiser():
    """A linear network with every kind of output, decoded by hand."""
    process, t, params = VP(), 0.4, {"gain": jnp.float32(0.3)}
    a, s = process.alpha(t), process.sigma(t)
    pred = Denoiser.from_function(linear, params, process, EPS)(X, t)
    np.testing.assert_allclose(pred.eps, 0.3 * X, rtol=1e-5)
    np.testing.assert_allclose(pred.x0, (X - s * 0.3 * X) / a, rtol=1e-5)
    pred = Denoiser.from_function(linear, params, process, X0)(X, t)
    np.testing.assert_allclose(pred.x0, 0.3 * X, rtol=1e-5)
    np.testing.assert_allclose(pred.eps, (X - a * 0.3 * X) / s, rtol=1e-5)
    pred = Denoiser.from_function(linear, params, process, V)(X, t)
    np.testing.assert_allclose(pred.x0, a * X - s * 0.3 * X, rtol=1e-5)
    assert pred.var is None
    assert pred.range is None


def test_a_learned_gaussian_is_the_oracle():
    den = Denoiser.from_function(noise_of_gaussian, {"std": STD}, VE(), EPS)
    for t in (0.001, 0.1, 0.9):
        got, want = den(X, jnp.float32(t)), oracles.gaussian(VE(), 0.0, STD)(X.astype(np.float64), t)
        np.testing.assert_allclose(got.x0, want.x0, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got.eps, want.eps, rtol=1e-4, atol=1e-6)


def test_what_the_network_is_told():
    told = {}

    def network(params, x, t, d, cond, key):
        told.update(x=x, t=t, d=d, label=cond.label)
        return x

    label = np.array([0, 1, 2, 3], np.int32)
    process, kind = VE(), edm(STD)
    Denoiser.from_function(network, {}, process, kind)(X, 0.25, 0.125, Cond(label))
    np.testing.assert_allclose(told["x"], X / np.sqrt(20.0**2 + STD**2), rtol=1e-6)
    assert told["t"] == pytest.approx(np.log(20.0) / 4)
    assert told["d"] is None
    np.testing.assert_array_equal(told["label"], label)
    jumper = Denoiser.from_function(network, {}, process, X0, capabilities=frozenset({INSTANT, JUMP}))
    jumper(X, 0.5, 0.125)
    assert told["d"] == 0.375
    jumper(X, 0.5)
    assert told["d"] == 0.0


def test_times_of_a_batch_may_differ():
    t = np.array([0.1, 0.4, 0.6, 0.9], np.float32)
    den = Denoiser.from_function(linear, {"gain": jnp.float32(0.3)}, VP(), V)
    together = den(X, t)
    for i in range(4):
        np.testing.assert_allclose(together.x0[i], den(X[i : i + 1], t[i]).x0[0], rtol=1e-5, atol=1e-6)


def test_low_precision_output_is_cast_up():
    def network(params, x, t, d, cond, key):
        return x.astype(jnp.bfloat16)

    pred = Denoiser.from_function(network, {}, VP(), V)(jnp.asarray(X), jnp.float32(0.5))
    assert pred.x0.dtype == pred.eps.dtype == jnp.float32


def test_equal_models_do_not_retrace():
    traces = []

    def network(params, x, t, d, cond, key):
        traces.append(1)
        return params["gain"] * x

    def make(gain, process):
        return Denoiser.from_function(network, {"gain": jnp.float32(gain)}, process, edm(0.5), classes=3)

    call = jax.jit(lambda den, x: den(x, 0.5).x0)
    first, second = call(make(1.0, VP()), X), call(make(2.0, VP()), X)
    assert len(traces) == 1
    assert not np.allclose(first, second)
    call(make(1.0, Linear()), X)
    assert len(traces) == 2


def test_parameters_are_the_leaves():
    den = Denoiser.from_function(linear, {"gain": jnp.float32(0.3)}, VP(), EPS, classes=7)
    assert jax.tree.leaves(den) == [jnp.float32(0.3)]
    under = den.under(Linear())
    assert jax.tree.leaves(under) == [jnp.float32(0.3)]
    assert under.process == Linear()
    assert den.classes == under.classes == 7
    assert den.capabilities == under.capabilities == {INSTANT}
    shapes = predict_shape(den, X, 0.5)
    assert shapes.x0.shape == shapes.eps.shape == X.shape
    assert shapes.var is None


ASK = jax.jit(lambda den, x, t, s=None: den(x, t, s))


@pytest.mark.parametrize("process", [Linear(), VP(), Cosine(), Shifted(), VE(geometric=True)], ids=str)
def test_under_another_process(process):
    """Trained on VE, asked under another: the oracle of the other, at an instant and for a jump."""
    oracle = oracles.gaussian(process, 0.0, STD)
    learned = Denoiser.from_function(noise_of_gaussian, {"std": STD}, VE(), EPS).under(process)
    jumping = Under(oracles.gaussian(VE(), 0.0, STD), process)
    for t in (0.1, 0.5, 0.9):
        x = X * np.float32(np.hypot(process.alpha(t), process.sigma(t)))
        for den, s in ((learned, None), (jumping, None), (jumping, 0.08)):
            got, want = ASK(den, x, t, s), oracle(x.astype(np.float64), t, s)
            np.testing.assert_allclose(got.x0, want.x0, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(got.eps, want.eps, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("inner", [VE(), VP(), Cosine(4.0)], ids=str)
@pytest.mark.parametrize("process", [Linear(), VP(), Cosine(), VE(sigma_max=500.0)], ids=str)
def test_under_is_consistent_beyond_the_trained_noise_levels(inner, process):
    """alpha x0 + sigma eps = x, also where the answer comes from the end of the trained range."""
    den = Under(oracles.gaussian(inner, 0.2, STD), process)
    for t in (1.0, 0.999, 0.3, 1e-3, 1e-5):
        a, s = process.alpha(t), process.sigma(t)
        x = X * np.float32(np.hypot(a, s))
        pred = ASK(den, x, t)
        assert np.isfinite(pred.x0).all()
        assert np.isfinite(pred.eps).all()
        scale = np.abs(x) + np.abs(a * pred.x0) + np.abs(s * pred.eps)
        assert (np.abs(a * pred.x0 + s * pred.eps - x) <= 2e-6 * scale).all()


def test_under_stays_within_the_trained_times():
    """No time outside the ends reaches the network."""
    asked = []

    def network(params, x, t, d, cond, key):
        jax.debug.callback(lambda t: asked.append(float(t)), t)
        return x

    den = Denoiser.from_function(network, {}, VP(), V).under(VE(sigma_max=1e4))
    for t in (1.0, 0.1, 1e-9):
        ASK(den, X, t)
    jax.effects_barrier()
    assert len(asked) == 3
    assert asked[0] == pytest.approx(1.0, abs=1e-6)
    assert asked[2] == pytest.approx(VP().t_min, rel=1e-3)
    assert all(VP().t_min * 0.999 <= t <= 1 + 1e-6 for t in asked)
