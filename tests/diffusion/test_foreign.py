"""Predictions of networks that others trained: against the formulas of their papers, and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import (
    CM,
    EPS,
    VE,
    VELOCITY,
    VP,
    Clocked,
    Denoiser,
    Discrete,
    Linear,
    Transferred,
    V,
    cfg,
    edm,
    indexed,
)
from fewstep.diffusion.denoiser import Cond, Model
from fewstep.errors import UsageError
from fewstep.samplers import ddim, draw, tabulate, uniform

SIGMAS = np.array([0.002, 0.02, 0.5, 5.0, 80.0])
X, RAW = np.random.default_rng(0).normal(size=(2, 5, 3))
PROCESS = VE()
TABLE = tabulate(ddim(Linear(), uniform(Linear(), 2)))


def d(prediction, process=PROCESS, sigmas=SIGMAS, x=X, raw=RAW):
    """The predicted x0 (5, 3) in float64 at these sigmas."""
    t = process.time(-np.log(sigmas))[:, None]
    return prediction.decode(process, t, x * process.alpha(t), raw)[0]


def test_cm_is_that_of_the_paper():
    """c_skip and c_out of arXiv:2303.01469, equation (25) with sigma_data 0.5 and epsilon 0.002."""
    s = SIGMAS[:, None]
    skip, out = 0.25 / ((s - 0.002) ** 2 + 0.25), 0.5 * (s - 0.002) / np.sqrt(s**2 + 0.25)
    np.testing.assert_allclose(d(CM()), skip * X + out * RAW, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(d(CM())[0], X[0], rtol=1e-9)  # at the boundary, whatever the network says
    np.testing.assert_allclose(d(CM(), sigmas=np.full(5, 1e-4)), X, rtol=1e-12)  # and below it
    np.testing.assert_allclose(d(CM(0.5, 0.0)), d(edm(0.5)), rtol=1e-9, atol=1e-12)


def test_cm_is_consistent_and_invertible():
    t = PROCESS.time(-np.log(SIGMAS[1:]))[:, None]
    x0, eps = CM().decode(PROCESS, t, X[1:], RAW[1:])
    np.testing.assert_allclose(x0 + PROCESS.sigma(t) * eps, X[1:], rtol=1e-9)
    np.testing.assert_allclose(CM().encode(PROCESS, t, x0, eps), RAW[1:], rtol=1e-6)
    a, b = CM().target(PROCESS, t)
    np.testing.assert_allclose(CM().det(PROCESS, t), b - PROCESS.sigma(t) * a, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "process", "prediction"),
    [
        ("VP", VP(), Clocked(EPS, scale=999.0)),
        ("VE", VE(0.02, 100.0), Clocked(EPS, of="log_noise", offset=float(np.log(0.5)), negated=True)),
    ],
)
def test_edms_preconditions(name, process, prediction):
    """Table 1 of arXiv:2206.00364: D = x + c_out F(c_in x, c_noise), for states x = x0 + sigma eps."""
    sigmas = np.array([0.05, 0.5, 5.0, 20.0, 50.0])
    t = process.time(-np.log(sigmas))
    c_out = {"VP": -sigmas, "VE": sigmas}[name][:, None]
    np.testing.assert_allclose(d(prediction, process, sigmas), X + c_out * RAW, rtol=1e-9)
    noise = {"VP": 999 * t, "VE": np.log(sigmas / 2)}[name]
    np.testing.assert_allclose(prediction.clock(process, t), noise, rtol=1e-9)


def test_sits_time_and_velocity_are_ours_reversed():
    sit, t = Clocked(VELOCITY, scale=-1.0, offset=1.0, negated=True), np.array([0.1, 0.7])
    np.testing.assert_allclose(sit.clock(Linear(), t), 1 - t)
    data, noise = np.array([0.3, -0.2]), np.array([1.5, 0.4])
    np.testing.assert_allclose(sit.encode(Linear(), t, data, noise), data - noise)
    np.testing.assert_allclose(sit.decode(Linear(), t, (1 - t) * data + t * noise, data - noise)[0], data)


def network(params, x, t, d, cond, key):
    return jnp.sin(x * params) + 0.1 * jnp.cos(0.01 * jnp.reshape(t, (-1, 1)))


@pytest.mark.parametrize("prediction", [indexed(EPS), indexed(V)], ids=["eps", "v"])
@pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=["Linear", "VP", "VE"])
def test_transferred_is_the_denoiser_under_another_process(prediction, process):
    """By the prediction and by the wrapper, two pieces of code."""
    x = jnp.asarray(X, jnp.float32)
    inner = Denoiser(jnp.float32(1.3), Model(network, Discrete(), prediction))
    moved = Denoiser(jnp.float32(1.3), Model(network, process, Transferred(prediction, Discrete())))
    start, end = process.ends
    for t in np.linspace(end, start, 5, dtype=np.float32)[1:]:
        one, other = inner.under(process)(x, t), moved(x, t)
        for a, b in zip(one[:2], other[:2], strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * float(abs(b).max()))


def test_transferred_targets_are_those_of_its_own_process():
    """x0 and eps are the same on both paths; encode, then decode gives them back."""
    moved, t = Transferred(indexed(V), Discrete()), np.array([0.2, 0.5, 0.9])
    x0, eps = np.array([0.3, -0.4, 0.8]), np.array([1.0, -0.3, 0.2])
    x = (1 - t) * x0 + t * eps
    found = moved.decode(Linear(), t, x, moved.encode(Linear(), t, x0, eps))
    np.testing.assert_allclose(found, (x0, eps), rtol=1e-6)
    det = moved.det(Linear(), t)
    own, _ = moved._own(Linear(), t)
    np.testing.assert_allclose(t / det, Discrete().sigma(own) / indexed(V).det(Discrete(), own), rtol=1e-9)


def test_a_network_without_levels_has_no_index():
    with pytest.raises(UsageError, match=r"@Discrete"):
        indexed(EPS).clock(Linear(), 0.5)


def test_guidance_needs_a_null_class():
    model = Model(network, Linear(), VELOCITY, classes=3, null_class=False)
    with pytest.raises(UsageError, match=r"null class.*autoguidance"):
        cfg(2.0)(model.denoiser(jnp.float32(1)))
    assert "null_class=False" in repr(model)
    with pytest.raises(UsageError, match="labels 0 to 3 are not among the 3 classes"):
        draw(model.denoiser(jnp.float32(1)), TABLE, [0, 1], (3,), cond=Cond(np.int32([0, 3])))
    assert "null_class" not in repr(Model(network, Linear(), VELOCITY))


def test_derivatives_in_time_pass():
    """As MeanFlow takes them."""
    moved = Transferred(indexed(EPS), Discrete())

    def velocity(t):
        x0, eps = moved.decode(Linear(), t, jnp.float32(0.3), jnp.float32(0.2))
        return eps - x0

    slope = jax.jvp(velocity, (jnp.float32(0.4),), (jnp.float32(1.0),))[1]
    near = (velocity(jnp.float32(0.41)) - velocity(jnp.float32(0.39))) / 0.02
    np.testing.assert_allclose(slope, near, rtol=0.02)
