"""The covariance that a Jacobian tells, against exact ones."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from fewstep.diffusion import VE, VP, Cond, Linear, cfg, oracles
from fewstep.diffusion.adapters import as_denoiser
from fewstep.diffusion.denoiser import Wrapper
from fewstep.diffusion.levers import averaged_variance, under
from fewstep.diffusion.levers.curvature import covariance_times, curvature
from fewstep.samplers import analytic_ddpm, ddpm, draw, tabulate, uniform
from fewstep.samplers.cost import passes

every = pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=["linear", "vp", "ve"])
X = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)


@every
@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_independent_elements_are_exact_with_one_probe(process, t):
    den = oracles.gaussian(process, 0.2, np.linspace(0.3, 0.8, 6, dtype=np.float32).reshape(3, 2))
    found = curvature(probes=1)(den)(X, np.float32(t))
    np.testing.assert_allclose(found.var, np.broadcast_to(den(X, t).var, X.shape), rtol=2e-5)
    np.testing.assert_allclose(found.x0, den(X, np.float32(t)).x0, atol=1e-6)


def test_at_alpha_0_all_is_open():
    den = oracles.gaussian(Linear(), 0.2, 0.5)
    np.testing.assert_allclose(curvature(bound=9.0)(den)(X, np.float32(1.0)).var, 0.25, rtol=0.01)


def exact_covariance(den, x, t):
    """Of x0 (d,) given x (B, d) under a mixture, by its components."""
    alpha, sigma = den.process.alpha(t), den.process.sigma(t)
    gain = alpha * den.stds**2 / (alpha**2 * den.stds**2 + sigma**2)
    means = den.means + gain * (x[:, None] - alpha * den.means)  # (B, K, d)
    total = alpha**2 * den.stds**2 + sigma**2
    logs = np.log(den.weights) - 0.5 * (((x[:, None] - alpha * den.means) ** 2 / total) + np.log(total)).sum(-1)
    r = np.exp(logs - logs.max(1, keepdims=True))
    r = (r / r.sum(1, keepdims=True))[..., None]
    mean = (r * means).sum(1)
    inner = (r * (den.stds**2 - alpha * gain * den.stds**2)).sum(1)
    off = means - mean[:, None]
    return np.einsum("bk,bki,bkj->bij", r[..., 0], off, off) + np.stack([np.diag(v) for v in inner])


@pytest.fixture
def mixture():
    means = np.array([[-0.6, 0.3, 0.1], [0.5, -0.2, 0.4]])
    return oracles.mixture(VP(), means, np.array([[0.2, 0.3, 0.4], [0.3, 0.2, 0.2]]), np.array([0.4, 0.6]))


@pytest.mark.parametrize("t", [0.2, 0.5])
def test_products_are_those_of_the_exact_covariance(mixture, t):
    x = np.random.default_rng(1).standard_normal((4, 3))
    with jax.enable_x64(True):
        unit = [jnp.broadcast_to(jnp.eye(3)[i], (4, 3)) for i in range(3)]
        columns = [np.asarray(covariance_times(mixture, jnp.asarray(x), t, v)) for v in unit]
    want = exact_covariance(mixture, x, t)
    np.testing.assert_allclose(np.stack(columns, -1), want, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.einsum("bii->bi", want), mixture(x, t).var, rtol=1e-6)


COVARIANCE = np.float32([[0.25, 0.1, -0.05], [0.1, 0.36, 0.05], [-0.05, 0.05, 0.16]])


@pytest.fixture
def correlated():
    """N(0, COVARIANCE), and its variances of x0 given x_t."""

    def x0(x, sigma):
        return x @ jnp.linalg.inv(COVARIANCE + sigma[0] ** 2 * jnp.eye(3)) @ COVARIANCE

    def variances(t):
        squared = np.exp(-2 * VP().lam(t))
        return np.diag(squared * COVARIANCE @ np.linalg.inv(COVARIANCE + squared * np.eye(3)))

    return as_denoiser(x0, VP()), variances


def keys(count):
    return jax.vmap(jax.random.key)(np.arange(count, dtype=np.uint32))


@pytest.mark.parametrize("cond", [Cond(), Cond(key=keys(4000))], ids=["without_keys", "with_keys"])
def test_its_error_averages_out_over_images(correlated, cond):
    """Their probes are their own."""
    den, variances = correlated
    x = np.zeros((4000, 3), np.float32)
    found = np.asarray(curvature(probes=1, bound=9.0)(den)(x, np.float32(0.4), None, cond).var)
    error = found.std(0) / np.sqrt(len(found))
    assert (error > 0).all()
    assert (abs(found.mean(0) - variances(0.4)) < 4.5 * error).all()


@register_dataclass
@dataclass(frozen=True)
class Listener(Wrapper):
    """Keeps the keys that it is given."""

    inner: Any
    heard: list = field(metadata={"static": True})

    def __call__(self, x, t, s=None, cond=Cond()):
        if cond.key is not None:
            self.heard.append(np.asarray(jax.random.key_data(cond.key)))
        return self.inner(x, t, s, cond)


@pytest.mark.slow
def test_every_image_has_keys_of_its_own_at_every_row():
    rows, heard = analytic_ddpm(VP(), uniform(VP(), 3, end=0.02)), []
    den = Listener(oracles.gaussian(VP(), 0.2, 0.5), heard)
    with jax.disable_jit():
        for seeds in ([4, 5], [5]):
            draw(den, tabulate(rows), seeds, (3,))
        draw(den, tabulate(ddpm(VP(), uniform(VP(), 2))), [4, 5], (3,))  # requires no variance
    assert [len(key) for key in heard] == [2, 2, 2, 1, 1, 1]
    assert len(np.unique(np.concatenate(heard[:3]), axis=0)) == 6
    np.testing.assert_array_equal(np.concatenate(heard[3:]), [key[1] for key in heard[:3]])


@pytest.mark.parametrize(
    "levers",
    [
        pytest.param([curvature(2)], marks=pytest.mark.slow),
        pytest.param([cfg(2.0), curvature(2)], marks=pytest.mark.slow),
        pytest.param([curvature(2), averaged_variance()], marks=pytest.mark.slow),
        [curvature(1), cfg(2.0), curvature(2)],
    ],
    ids=["alone", "guided", "averaged", "within_and_around"],
)
def test_an_image_depends_only_on_its_seed(levers):
    network = as_denoiser(lambda x, t, label: 0.1 * label[:, None] + 0.4 * x[:, ::-1], VP(), classes=2)
    den, table = under(network, levers), tabulate(analytic_ddpm(VP(), uniform(VP(), 4)))
    together = draw(den, table, [3, 4, 5], (3,), cond=Cond(np.int32([0, 0, 1])))
    alone = draw(den, table, [5], (3,), cond=Cond(np.int32([1])))
    np.testing.assert_allclose(together[2:], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_many_probes_approach_the_diagonal(mixture):
    x = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    want, errors = mixture(x, 0.5).var, []
    for probes in (4, 1024):
        found = [curvature(probes, seed)(mixture)(x, np.float32(0.5)).var for seed in range(8)]
        errors.append(np.sqrt(np.mean((np.stack(found) - want) ** 2)))
    assert errors[1] / errors[0] == pytest.approx(np.sqrt(4 / 1024), rel=0.5)


@pytest.mark.slow
def test_samplers_draw_with_it_and_levers_mix(mixture):
    """Under guidance a variance is that of nothing; around it, of what is guided."""
    table = tabulate(analytic_ddpm(VP(), uniform(VP(), 3, end=0.02)))
    den = oracles.gaussian(VP(), 0.2, 0.5)
    x = np.asarray(draw(curvature(probes=1)(den), table, range(4000), (2,)))
    want = (VP().alpha(0.02) * 0.5) ** 2 + VP().sigma(0.02) ** 2
    assert x.var() == pytest.approx(want, rel=5 * np.sqrt(2 / x.size))
    cond = Cond(np.zeros(4, np.int32))
    x = np.zeros((4, 3), np.float32)
    assert cfg(2.0)(curvature()(mixture))(x, 0.5, None, cond).var is None
    assert curvature()(cfg(2.0)(mixture))(x, 0.5, None, cond).var.shape == (4, 3)


def test_its_passes_are_counted():
    """A call, and two passes a probe."""
    den, table = oracles.gaussian(VP(), 0.2, 0.5), tabulate(analytic_ddpm(VP(), uniform(VP(), 3, end=0.02)))
    assert passes(curvature(probes=4)(den), table) == 3 * (1 + 2 * 4)


def test_what_no_sampler_asks_for_is_not_counted():
    den, table = oracles.gaussian(VP(), 0.2, 0.5), tabulate(ddpm(VP(), uniform(VP(), 3)))
    assert passes(curvature(probes=4)(den), table) == 3


@pytest.mark.parametrize("probes", [0, 1.5])
def test_refusals(probes):
    with pytest.raises(ValueError, match="probes"):
        curvature(probes)
