"""N trained noise levels as a process: the levels, between them, no signal at the end, the network's index."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import EPS, VP, Denoiser, Discrete, V, indexed, oracles
from fewstep.diffusion.denoiser import Under
from fewstep.diffusion.discrete import SCHEDULES

SMALL = Discrete((0.1, 0.2, 0.3, 0.25))
PROCESSES = [
    *(Discrete(name, zero_snr=zero) for name in SCHEDULES for zero in (False, True)),
    Discrete(steps=50),
    SMALL,
    Discrete((0.1, 0.2, 1.0)),
]
every = pytest.mark.parametrize("process", PROCESSES, ids=str)


def inside(process, points=3):
    """Times inside the pieces."""
    n = np.unique(np.linspace(0, process.count - 1, 40).astype(int))
    return ((n[:, None] + (np.arange(points) + 1) / (points + 1)) / process.count).ravel()


def test_betas_of_the_schedules():
    """Of N = 1000 as published; cosine's by its formula."""
    betas = {name: schedule(1000) for name, schedule in SCHEDULES.items()}
    np.testing.assert_allclose(betas["linear"][[0, 500, 999]], [1e-4, 1e-4 + 500 / 999 * 0.0199, 2e-2], rtol=1e-12)
    np.testing.assert_allclose(betas["scaled_linear"][[0, 999]], [0.00085, 0.012], rtol=1e-12)
    np.testing.assert_allclose(np.diff(np.sqrt(betas["scaled_linear"]), 2), 0, atol=1e-15)

    def bar(t):
        return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2

    assert betas["cosine"][299] == pytest.approx(1 - bar(0.3) / bar(0.299), rel=1e-9)
    assert betas["cosine"][999] == 0.999
    assert SCHEDULES["linear"](100)[99] == pytest.approx(0.2)


@pytest.mark.parametrize("process", [process for process in PROCESSES if not process.zero_snr], ids=str)
def test_levels(process):
    """alpha_n^2 is the product of 1 - beta, by multiplication; between, the geometric mean."""
    betas = process.betas if isinstance(process.betas, tuple) else SCHEDULES[process.betas](process.count)
    want, n = np.sqrt(np.cumprod(1 - np.array(betas))), np.arange(1, process.count + 1)
    np.testing.assert_allclose(process.alpha(n / process.count), want, rtol=1e-11)
    np.testing.assert_allclose(process.alpha((n[1:-1] - 0.5) / process.count) ** 2, want[:-2] * want[1:-1], rtol=1e-11)
    assert (process.alpha(0.0), process.sigma(0.0)) == (1, 0)
    assert process.ends == (1, 0)
    assert process.snr_ends[1] == 1 / process.count


@every
def test_time_inverts_lam(process):
    t = np.concatenate([inside(process), np.arange(1, process.count) / process.count])
    np.testing.assert_allclose(process.time(process.lam(t)), t, rtol=1e-12)
    np.testing.assert_allclose(process.lam(process.time(process.lam(t))), process.lam(t), rtol=1e-12, atol=1e-12)
    back = jax.jit(lambda t: process.time(process.lam(t)))(jnp.asarray(t, jnp.float32))
    np.testing.assert_allclose(back, t, atol=5e-6)
    assert (process.time(np.inf), process.time(-np.inf)) == (0, 1)


@every
@pytest.mark.parametrize("name", ["alpha", "sigma", "lam"])
def test_derivatives_inside_the_pieces(process, name):
    f, df, t = getattr(process, name), getattr(process, "d" + name), inside(process)
    step = 1e-3 / process.count
    np.testing.assert_allclose(df(t), (f(t + step) - f(t - step)) / (2 * step), rtol=1e-5, atol=1e-8)
    by_grad = jax.vmap(jax.grad(f))(jnp.asarray(t, jnp.float32))
    # JAX differentiates expm1(x) as expm1(x) + 1, which near alpha = 0 leaves 6e-8 of a slope of log alpha of 3454.
    np.testing.assert_allclose(by_grad, df(t), rtol=1e-3, atol=3e-4)


@every
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_derivatives_at_the_kinks_are_of_the_cleaner_side(process, kind):
    t = np.arange(1, process.count) / process.count
    at, clean, noisy = (process.dlam(u) for u in (t, t - 1e-6, t + 1e-6))
    if kind is np.float32:
        at = np.asarray(process.dlam(jnp.asarray(t, kind)))
    assert (np.abs(at - clean) < 0.01 * np.abs(at) + 0.1 * np.abs(noisy - clean))[2:].all()


def test_answers_in_kind():
    for process in (SMALL, Discrete(zero_snr=True)):
        for name in ("alpha", "sigma", "lam", "dalpha", "dsigma", "dlam", "time", "index"):
            f = getattr(process, name)
            for t in (0.3, np.float64(0.3), np.array(0.3), inside(process)):
                out = f(t)
                assert isinstance(out, float | np.floating | np.ndarray)
                assert np.asarray(out).dtype == np.float64
                assert np.shape(out) == np.shape(t)
            t = jnp.asarray(inside(process), jnp.float32)
            assert jax.jit(f)(t).dtype == jnp.float32
            np.testing.assert_allclose(jax.jit(f)(t), f(np.asarray(t, np.float64)), rtol=1e-3, atol=1e-4)


def test_linear_is_nearly_the_continuous_process():
    """log alpha by the trapezoid of the continuous beta(t): apart by (beta_1 - beta_0) / (4 N) and beta^2 / (4 N)."""
    t = np.arange(1, 1001) / 1000
    apart = np.log(Discrete().alpha(t)) - np.log(VP().alpha(t))
    want = -np.cumsum((0.1 + 19.9 * (np.arange(1000) / 999) - (0.1 + 19.9 * (t - 0.0005))) / 2000)
    second = -np.cumsum((0.1 + 19.9 * t) ** 2) / 1000 / 4000
    np.testing.assert_allclose(apart, want + second, atol=1e-3)
    assert np.abs(apart).max() < 0.05
    fine = np.log(Discrete(steps=100_000).alpha(t)) - np.log(VP().alpha(t))
    np.testing.assert_allclose(fine, apart / 100, atol=2e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_zero_snr(name):
    """alpha_n <- (alpha_n - alpha_N) alpha_1 / (alpha_1 - alpha_N); alpha is linear in t on the last piece."""
    plain, zero, t = Discrete(name), Discrete(name, zero_snr=True), np.arange(1, 1001) / 1000
    a = plain.alpha(t)
    np.testing.assert_allclose(zero.alpha(t[:-1]), ((a - a[-1]) * a[0] / (a[0] - a[-1]))[:-1], rtol=1e-9)
    assert zero.alpha(t[0]) == plain.alpha(t[0])
    assert (zero.alpha(1.0), zero.sigma(1.0), zero.lam(1.0)) == (0, 1, -np.inf)
    assert zero.alpha(0.9995) == pytest.approx(zero.alpha(0.999) / 2, rel=1e-9)
    assert zero.snr_ends == (0.999, 0.001)
    assert np.isfinite([zero.dalpha(1.0), zero.dsigma(1.0)]).all()
    assert zero.split_noise(1.0, 0.4, 0.0) == pytest.approx((zero.sigma(0.4), 0.0))


def test_a_last_beta_of_one_has_no_signal_either():
    process = Discrete((0.1, 0.2, 1.0))
    assert process.alpha(1.0) == 0
    assert process.alpha(2 / 3) == pytest.approx(np.sqrt(0.72))


@pytest.mark.parametrize("process", [Discrete(), Discrete(zero_snr=True)], ids=str)
def test_a_denoiser_of_it_under_another_process(process):
    """The same posterior at the same log-SNR; where that is beyond the trained range, its end's."""
    for t in (0.9, 0.7, 0.2, 0.01):
        got = Under(oracles.gaussian(process, 0.2, 0.5), VP())(np.ones((2, 3)), t)
        want = oracles.gaussian(VP(), 0.2, 0.5)(np.ones((2, 3)), t)
        np.testing.assert_allclose(got.x0, want.x0, rtol=1e-9)


def test_equal_processes_are_one_to_jit():
    assert Discrete(np.array([0.1, 0.2])) == Discrete([0.1, 0.2])
    assert hash(Discrete([0.1, 0.2], steps=2)) == hash(Discrete((0.1, 0.2), steps=2))
    assert hash(Discrete()) == hash(Discrete("linear"))


def test_the_network_is_told_the_index():
    seen = []

    def network(params, x, t, d, cond, key):
        seen.append(np.asarray(t))
        return x

    t = np.array([1.0, 0.85, 0.001, 0.0003])
    for rounded in (False, True):
        den = Denoiser.from_function(network, {}, Discrete(), indexed(EPS, rounded))
        for u in t:
            den(jnp.ones((2, 3)), u)
    np.testing.assert_allclose(seen, [999, 849, 0, 0] * 2, atol=1e-9)
    np.testing.assert_allclose(indexed().clock(Discrete(), jnp.float32(0.6)), 599, atol=1e-3)
    assert indexed(rounded=True).clock(Discrete(), jnp.float32(0.6)) == 599
    assert indexed(V).target(Discrete(), 0.3) == V.target(Discrete(), 0.3)


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: Discrete("sqrt"), "Discrete.betas is one of linear, scaled_linear, cosine"),
        (lambda: Discrete((0.1, 0.2), steps=3), "as many as betas"),
        (lambda: Discrete((0.1, -0.2)), r"Discrete.betas is .* each a number in \(0, 1\]"),
        (lambda: Discrete((1.0, 0.2)), "betas below 1"),
        (lambda: Discrete((0.1,)), "two betas"),
        (lambda: Discrete(steps=10), "21 steps"),
        (lambda: Discrete(steps=0), "Discrete.steps is a whole number"),
    ],
)
def test_numbers_that_make_no_process(build, what):
    with pytest.raises(ValueError, match=what):
        build()
