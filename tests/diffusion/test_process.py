"""Forward processes: the identities of algorithms.md 0.2, inverses, derivatives, and answers in kind."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import PFGM, VE, VP, Cosine, Linear, Shifted

PROCESSES = [
    Linear(), VP(), Cosine(), VE(), VE(geometric=True), Shifted(), Shifted(VP(), 2.0), PFGM(Linear(), 1e6),
]  # fmt: skip
T = np.linspace(0.02, 0.98, 25)
every = pytest.mark.parametrize("process", PROCESSES, ids=str)


@every
def test_time_inverts_lam(process):
    np.testing.assert_allclose(process.time(process.lam(T)), T, rtol=1e-10)
    np.testing.assert_allclose([process.time(process.lam(float(t))) for t in T], T, rtol=1e-10)


@every
def test_time_inverts_lam_in_float32_under_jit(process):
    t = jnp.asarray(T, jnp.float32)
    back = jax.jit(lambda t: process.time(process.lam(t)))(t)
    assert back.dtype == jnp.float32
    np.testing.assert_allclose(back, t, atol=2e-6)


@every
def test_values_in_float32_under_jit(process):
    for name in ("alpha", "sigma", "lam", "dalpha", "dsigma", "dlam"):
        f = getattr(process, name)
        np.testing.assert_allclose(jax.jit(f)(jnp.asarray(T, jnp.float32)), f(T), rtol=1e-4, atol=1e-5, err_msg=name)


@every
def test_lam_is_the_half_log_snr_and_falls(process):
    np.testing.assert_allclose(np.exp(process.lam(T)), process.alpha(T) / process.sigma(T), rtol=1e-12)
    assert (np.diff(process.lam(T)) < 0).all()


@every
@pytest.mark.parametrize("name", ["alpha", "sigma", "lam"])
def test_derivatives(process, name):
    f, df = getattr(process, name), getattr(process, "d" + name)
    step = 1e-5
    np.testing.assert_allclose(df(T), (f(T + step) - f(T - step)) / (2 * step), rtol=1e-6, atol=1e-8)
    by_grad = jax.vmap(jax.grad(f))(jnp.asarray(T, jnp.float32))
    np.testing.assert_allclose(by_grad, df(T), rtol=2e-4, atol=1e-5)


@every
@pytest.mark.parametrize("name", ["alpha", "sigma", "lam", "dalpha", "dsigma", "dlam", "time"])
def test_answers_in_kind(process, name):
    f = getattr(process, name)
    for t in (0.3, np.float64(0.3), np.array(0.3), T):
        out = f(t)
        assert isinstance(out, float | np.floating | np.ndarray)
        assert np.asarray(out).dtype == np.float64
        assert np.shape(out) == np.shape(t)
    for t in (jnp.float32(0.3), jnp.asarray(T, jnp.float32)):
        assert isinstance(f(t), jax.Array)
        assert f(t).dtype == jnp.float32


@every
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_split_noise(process, eta):
    for t, s in zip(T[1:], T[:-1], strict=True):
        kept, fresh = process.split_noise(t, s, eta)
        assert kept**2 + fresh**2 == pytest.approx(process.sigma(s) ** 2, rel=1e-12)
        # 1 - e^-2h is the share of sigma_t^2 that the step t|s added: sigma_t|s^2 = sigma_t^2 - (a_t/a_s)^2 sigma_s^2.
        added = process.sigma(t) ** 2 - (process.alpha(t) / process.alpha(s) * process.sigma(s)) ** 2
        assert fresh**2 == pytest.approx(eta**2 * added * (process.sigma(s) / process.sigma(t)) ** 2, rel=1e-9)


@pytest.mark.parametrize("process", [Linear(), Shifted()], ids=str)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_split_noise_from_pure_noise(process, eta):
    """h = infinity: the posterior of x_s is x_s itself."""
    kept, fresh = process.split_noise(1.0, 0.4, eta)
    assert fresh == pytest.approx(eta * process.sigma(0.4), rel=1e-12)
    assert kept == pytest.approx(np.sqrt(1 - eta**2) * process.sigma(0.4), rel=1e-12)


@pytest.mark.parametrize("process", [Linear(), VE(), Shifted()], ids=str)
@pytest.mark.parametrize("t", [0.5, 1.0])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_split_noise_to_data(process, t, eta):
    assert process.split_noise(t, 0.0, eta) == (0.0, 0.0)


@every
def test_diffusion_coefficient(process):
    """g^2 = (sigma^2)' - 2 f sigma^2 = -2 sigma^2 lam', by differences of alpha and sigma alone."""
    step = 1e-5
    slope = (process.sigma(T + step) ** 2 - process.sigma(T - step) ** 2) / (2 * step)
    drift = np.log(process.alpha(T + step) / process.alpha(T - step)) / (2 * step)
    g2 = slope - 2 * drift * process.sigma(T) ** 2
    np.testing.assert_allclose(-2 * process.sigma(T) ** 2 * process.dlam(T), g2, rtol=1e-6)


def test_known_diffusion_coefficients():
    vp = VP()
    np.testing.assert_allclose(-2 * vp.sigma(T) ** 2 * vp.dlam(T), 0.1 + 19.9 * T, rtol=1e-12)
    np.testing.assert_allclose(-2 * Linear().sigma(T) ** 2 * Linear().dlam(T), 2 * T / (1 - T), rtol=1e-12)


def test_defining_formulas():
    np.testing.assert_allclose(np.log(VP().alpha(T)), -(T**2) * 19.9 / 4 - T * 0.1 / 2, rtol=1e-12)
    np.testing.assert_allclose(VE().sigma(T), 80 * T)
    np.testing.assert_allclose(VE(geometric=True).sigma(T), 0.002 * 40000**T, rtol=1e-12)
    low, high = (np.arctan(np.exp(-0.5 * snr)) for snr in (15.0, -15.0))
    np.testing.assert_allclose(Cosine().lam(T), -np.log(np.tan(low + T * (high - low))), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(2 * Cosine().lam(np.array([0.0, 1.0])), [15.0, -15.0], rtol=1e-10)


@pytest.mark.parametrize("process", [VP(), Cosine()], ids=str)
def test_variance_is_preserved(process):
    np.testing.assert_allclose(process.alpha(T) ** 2 + process.sigma(T) ** 2, 1.0, rtol=1e-14)


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_shift_moves_lam_by_its_logarithm(shift):
    np.testing.assert_allclose(Shifted(Linear(), shift).lam(T), Linear().lam(T) - np.log(shift), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("inner", [Linear(), VP(), VE()], ids=str)
def test_shift_keeps_the_ends(inner):
    shifted = Shifted(inner, 3.0)
    for warped, plain in ((shifted.ends, inner.ends), (shifted.snr_ends, inner.snr_ends)):
        np.testing.assert_allclose([shifted.sigma(t) for t in warped], [inner.sigma(t) for t in plain], rtol=1e-12)


@every
def test_prior_has_the_standard_deviation_of_the_noise(process):
    n = 2**14
    for t in (1.0, 0.7):
        x = np.asarray(process.prior(jax.random.key(0), t, (n,)))
        sigma = process.sigma(t)
        assert abs(x.mean()) < 4 * sigma / np.sqrt(n)
        assert abs(x.var() - sigma**2) < 4 * sigma**2 * np.sqrt(2 / n)


@every
def test_equal_processes_are_one_to_jit(process):
    again = replace(process)
    assert again == process
    assert hash(again) == hash(process)


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_noise_splits_alike_on_host_and_device(process):
    want = process.split_noise(0.7, 0.4, 0.6)
    got = jax.jit(lambda t, s: process.split_noise(t, s, 0.6))(jnp.float32(0.7), jnp.float32(0.4))
    np.testing.assert_allclose(got, want, rtol=1e-4)
    kept, fresh = process.split_noise(0.7, 0.4, 50.0)
    assert (kept, fresh) == (0, pytest.approx(process.sigma(0.4)))  # all fresh, and no more than there is


def test_cosine_keeps_its_digits_near_pure_noise():
    t = np.array([0.999, 0.9999], np.float32)
    np.testing.assert_allclose(jax.jit(Cosine().alpha)(t), Cosine().alpha(t.astype(np.float64)), rtol=1e-6)


def test_time_of_infinite_log_snr():
    assert VP().time(np.inf) == 0
    assert Linear().time(np.inf) == 0


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: VP(beta_min=30.0), "beta_min < beta_max"),
        (lambda: VP(beta_max=-5.0), r"VP.beta_max is a number in \(0, 1000\]: got -5.0"),
        (lambda: VP(t_min=0.0), "t_min"),
        (lambda: Cosine(log_snr_max=-3.0), "Cosine.log_snr_max is a number"),
        (lambda: VE(sigma_min=0.0), "sigma_min"),
        (lambda: VE(sigma_min=1.0, sigma_max=0.5), "sigma_min < sigma_max"),
        (lambda: Shifted(shift=0.0), "Shifted.shift is a number"),
        (lambda: Shifted(process=3), "a process"),
    ],
)
def test_numbers_that_make_no_process(build, what):
    with pytest.raises(ValueError, match=what):
        build()
