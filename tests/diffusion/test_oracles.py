"""Exact denoisers against the formulas of algorithms.md G1-G3 written out in NumPy, one state at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from fewstep.diffusion import VE, VP, Cond, Cosine, Discrete, Linear, Shifted
from fewstep.diffusion.oracles import dataset, gaussian, mixture

PROCESSES = [Linear(), VP(), Cosine(), VE(), VE(geometric=True), Shifted(), Discrete(zero_snr=True)]
TIMES = [0.1, 0.5, 0.9]
RNG = np.random.default_rng(0)
MEAN, STD = np.array([0.3, -1.0, 2.0]), np.array([0.5, 1.3, 0.01])
MEANS, STDS, WEIGHTS = RNG.standard_normal((4, 3)), 0.2 + RNG.random((4, 3)), np.array([0.1, 0.2, 0.3, 0.4])
IMAGES, LABELS = RNG.standard_normal((6, 2, 2, 1)), np.array([0, 0, 1, 1, 1, 2])
X = RNG.standard_normal((5, 3))

processes = pytest.mark.parametrize("process", PROCESSES, ids=str)
times = pytest.mark.parametrize("t", TIMES)


def states(process, t, shape=(5, 3)):
    return RNG.standard_normal(shape) * np.hypot(process.alpha(t), process.sigma(t))


def oracles(process):
    return [
        (gaussian(process, MEAN, STD), (5, 3)),
        (mixture(process, MEANS, STDS, WEIGHTS), (5, 3)),
        (dataset(process, IMAGES, LABELS), (5, 2, 2, 1)),
    ]


@processes
@times
def test_gaussian(process, t):
    x, a, s = states(process, t), process.alpha(t), process.sigma(t)
    v = a**2 * STD**2 + s**2
    pred = gaussian(process, MEAN, STD)(x, t)
    np.testing.assert_allclose(pred.x0, MEAN + a * STD**2 / v * (x - a * MEAN), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(pred.eps, s / v * (x - a * MEAN), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(pred.var, np.broadcast_to(STD**2 - a**2 * STD**4 / v, x.shape), rtol=1e-6, atol=1e-13)


def flow(process, x, t, s):
    def spread(u):
        return process.alpha(u) ** 2 * STD**2 + process.sigma(u) ** 2

    return process.alpha(s) * MEAN + np.sqrt(spread(s) / spread(t)) * (x - process.alpha(t) * MEAN)


@processes
@pytest.mark.parametrize(("t", "s"), [(0.9, 0.2), (0.3, 0.29), (1.0, 0.0), (1.0, 0.5), (0.5, 0.0), (0.2, 0.6)])
def test_jump_lands_where_the_flow_map_does(process, t, s):
    x = states(process, t)
    pred = gaussian(process, MEAN, STD)(x, t, s)
    landed = process.alpha(s) * pred.x0 + process.sigma(s) * pred.eps
    np.testing.assert_allclose(landed, flow(process, x, t, s), rtol=1e-10, atol=1e-12)
    left = process.alpha(t) * pred.x0 + process.sigma(t) * pred.eps
    np.testing.assert_allclose(left, x, rtol=1e-10, atol=1e-12 * np.abs(x).max())


@processes
@pytest.mark.parametrize("t", [*TIMES, 1.0])
def test_jump_to_the_same_time_is_the_instant(process, t):
    den, x = gaussian(process, MEAN, STD), states(process, t)
    for jump, instant in zip(den(x, t, t), den(x, t), strict=True):
        if not isinstance(jump, tuple) and jump is not None:
            np.testing.assert_array_equal(jump, instant)


@processes
def test_jumps_are_a_semigroup(process):
    den = gaussian(process, MEAN, STD)

    def jump(x, t, s):
        pred = den(x, t, s)
        return process.alpha(s) * pred.x0 + process.sigma(s) * pred.eps

    x = states(process, 0.9)
    np.testing.assert_allclose(jump(jump(x, 0.9, 0.4), 0.4, 0.1), jump(x, 0.9, 0.1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(jump(jump(x, 0.9, 0.2), 0.2, 0.9), x, rtol=1e-9, atol=1e-10)


def mixture_longhand(process, x, t, means, stds, weights):
    a, s = process.alpha(t), process.sigma(t)
    logs = [
        np.log(w) + norm.logpdf(x, a * m, np.sqrt(a**2 * c**2 + s**2)).sum()
        for m, c, w in zip(means, stds, weights, strict=True)
    ]
    r = np.exp(np.array(logs) - logsumexp(logs))
    v = (a * stds) ** 2 + s**2
    m = means + a * stds**2 / v * (x - a * means)
    cov = stds**2 - a**2 * stds**4 / v
    x0 = (r[:, None] * m).sum(0)
    return x0, (r[:, None] * (cov + m**2)).sum(0) - x0**2


@processes
@times
@pytest.mark.parametrize("label", [None, 2, 4])
def test_mixture(process, t, label):
    x = states(process, t)
    cond = Cond() if label is None else Cond(np.full(5, label, np.int32))
    pred = mixture(process, MEANS, STDS, WEIGHTS)(x, t, cond=cond)
    pick = slice(2, 3) if label == 2 else slice(None)
    for i in range(5):
        x0, var = mixture_longhand(process, x[i], t, MEANS[pick], STDS[pick], WEIGHTS[pick])
        np.testing.assert_allclose(pred.x0[i], x0, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(pred.var[i], var, rtol=1e-6, atol=1e-10)


def test_mixture_of_numbers_is_the_same_for_every_element():
    """Means (K,) stand for constant images."""
    process, x = VP(), X[:, :, None]
    short = mixture(process, np.array([-1.0, 0.5]), np.array([0.3, 0.4]))(x, 0.4)
    full = np.ones((1, 3, 1))
    long = mixture(process, np.array([[[-1.0]], [[0.5]]]) * full, np.array([[[0.3]], [[0.4]]]) * full)(x, 0.4)
    np.testing.assert_allclose(short.x0, long.x0, rtol=1e-14)
    np.testing.assert_allclose(short.var, long.var, rtol=1e-14)


def test_mixture_of_one_is_the_gaussian():
    got, want = mixture(VP(), MEAN[None], STD[None])(X, 0.4), gaussian(VP(), MEAN, STD)(X, 0.4)
    for field in ("x0", "eps", "var"):
        np.testing.assert_allclose(getattr(got, field), getattr(want, field), rtol=1e-9, atol=1e-12)


@processes
def test_variance_is_the_derivative_of_the_denoiser(process):
    """Second-order Tweedie: Var[x0 | x] = (sigma^2 / alpha) dD/dx, by forward and by reverse differentiation."""
    den = mixture(process, [-1.0, 0.8], [0.3, 0.4], [0.4, 0.6])

    @jax.jit
    def both(x, t):
        _, forward = jax.jvp(lambda x: den(x, t).x0, (x,), (jnp.ones_like(x),))
        return forward, jax.grad(lambda x: den(x, t).x0.sum())(x), den(x, t).var

    for t in TIMES:
        forward, reverse, var = both(jnp.asarray(states(process, t, (7, 1)), jnp.float32), t)
        factor = process.sigma(t) ** 2 / process.alpha(t)
        np.testing.assert_allclose(factor * forward, var, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(factor * reverse, var, rtol=1e-3, atol=1e-5)


@processes
@times
@pytest.mark.parametrize("label", [None, 1, 3])
def test_finite_data_set(process, t, label):
    x, a, s = states(process, t, (5, 2, 2, 1)), process.alpha(t), process.sigma(t)
    cond = Cond() if label is None else Cond(np.full(5, label, np.int32))
    pred = dataset(process, IMAGES, LABELS)(x, t, cond=cond)
    data = IMAGES[LABELS == 1] if label == 1 else IMAGES
    for i in range(5):
        logs = np.array([-((x[i] - a * y) ** 2).sum() / (2 * s**2) for y in data])
        r = np.exp(logs - logsumexp(logs))
        x0 = sum(p * y for p, y in zip(r, data, strict=True))
        var = sum(p * (y - x0) ** 2 for p, y in zip(r, data, strict=True))
        np.testing.assert_allclose(pred.x0[i], x0, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(pred.var[i], var, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("process", [Linear(), VE()], ids=str)
def test_without_noise_the_nearest_image_is_believed(process):
    x = RNG.standard_normal((5, 2, 2, 1))
    pred = dataset(process, IMAGES)(x, float(process.time(np.log(1e3))))
    nearest = [min(IMAGES, key=lambda y, x=x_: ((x - y) ** 2).sum()) for x_ in x]
    np.testing.assert_allclose(pred.x0, nearest, atol=1e-12)
    np.testing.assert_allclose(pred.var, 0.0, atol=1e-12)


def test_labels_differ_within_a_batch():
    for den, shape in oracles(VP())[1:]:
        x, label = RNG.standard_normal(shape), np.array([0, 1, 2, den.classes, 0], np.int32)
        together = den(x, 0.4, cond=Cond(label))
        for i in range(5):
            alone = den(x[i : i + 1], 0.4, cond=Cond(label[i : i + 1]))
            np.testing.assert_allclose(together.x0[i], alone.x0[0], rtol=1e-12)
        np.testing.assert_allclose(together.x0[3], den(x, 0.4).x0[3], rtol=1e-12)
    assert [den.classes for den, _ in oracles(VP())] == [0, 4, 3]


@processes
@pytest.mark.parametrize("which", range(3), ids=["gaussian", "mixture", "dataset"])
def test_numpy_in_numpy_out_and_the_same_under_jit(process, which):
    den, shape = oracles(process)[which]
    for t in (0.5, np.array([0.1, 0.3, 0.5, 0.7, 0.9])):
        x = RNG.standard_normal(shape)
        host = den(x, t)
        assert all(type(a) is np.ndarray and a.dtype == np.float64 and a.shape == shape for a in host[:3])
        at, st = (np.reshape(f(t), (-1,) + (1,) * (len(shape) - 1)) for f in (process.alpha, process.sigma))
        np.testing.assert_allclose(at * host.x0 + st * host.eps, x, rtol=1e-10, atol=1e-10)
    device = jax.jit(lambda den, x, t: den(x, t))(den, jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32))
    for got, want in zip(device[:3], host[:3], strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("which", range(3), ids=["gaussian", "mixture", "dataset"])
def test_times_of_a_batch_may_differ(which):
    den, shape = oracles(VP())[which]
    x, t = RNG.standard_normal(shape), np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    together = den(x, t)
    for i in range(5):
        for got, want in zip(together[:3], den(x[i : i + 1], t[i])[:3], strict=True):
            np.testing.assert_allclose(got[i], want[0], rtol=1e-12, atol=1e-14)
