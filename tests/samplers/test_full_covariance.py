"""Steps with a full covariance, against exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

from fewstep.diffusion import VP, oracles
from fewstep.diffusion.levers.curvature import covariance_times
from fewstep.samplers import analytic_ddim, analytic_ddpm, dpmpp_2m, draw, tabulate, uniform
from fewstep.samplers.full_covariance import draw_full_covariance, matrix_function

MEANS, STDS = np.array([[-0.6, 0.3, 0.1], [0.5, -0.2, 0.4]]), np.array([[0.2, 0.3, 0.4], [0.3, 0.2, 0.2]])
MIXTURE = oracles.mixture(VP(), MEANS, STDS, np.array([0.4, 0.6]))


@pytest.mark.parametrize("products", [6, 12])
def test_functions_of_matrices(products):
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((4, 6, 6))
    matrices, z = roots @ roots.transpose(0, 2, 1), rng.standard_normal((4, 2, 3))
    with jax.enable_x64(True):
        found = matrix_function(
            lambda v: jnp.einsum("bij,bj->bi", matrices, v.reshape(4, 6)).reshape(4, 2, 3),
            jnp.asarray(z), jnp.sqrt, products,
        )  # fmt: skip
    want = np.stack([sqrtm(m).real @ v.ravel() for m, v in zip(matrices, z, strict=True)]).reshape(4, 2, 3)
    np.testing.assert_allclose(found, want, atol=1e-7)


@pytest.mark.slow
def test_few_products_are_near():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((40, 40)) / np.sqrt(40)
    matrix, z = root @ root.T + 0.1 * np.eye(40), rng.standard_normal((1, 40))
    want, errors = sqrtm(matrix).real @ z[0], []
    for products in (2, 5, 10):
        found = matrix_function(lambda v: v @ matrix, jnp.asarray(z, jnp.float32), jnp.sqrt, products)
        errors.append(np.linalg.norm(np.asarray(found)[0] - want) / np.linalg.norm(want))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_one_step_has_the_covariance_of_the_posterior(eta):
    """nu^2 I + c^2 Cov[x0 | x_t], where a variance an element leaves the rest of it out."""
    grid = np.array([0.5, 0.2])
    table, x, n = tabulate(analytic_ddim(VP(), grid, eta=eta)), np.array([0.1, 0.05, 0.2], np.float32), 20_000
    start = np.broadcast_to(x, (n, 3))
    drawn = np.asarray(draw_full_covariance(MIXTURE, table, range(n), (3,), start=start, products=3), np.float64)
    columns = [
        covariance_times(MIXTURE, x[None], np.float32(0.5), np.eye(3, dtype=np.float32)[i : i + 1]) for i in range(3)
    ]
    want = table.noise[0] ** 2 * np.eye(3) + table.spread[0] ** 2 * np.concatenate(columns)
    got = np.cov(drawn.T)
    scale = np.sqrt(np.multiply.outer(np.diag(want), np.diag(want)))
    assert abs(got - want).max() < 5 * scale.max() * np.sqrt(2 / n)
    plain = np.cov(np.asarray(draw(MIXTURE, table, range(n), (3,), start=start), np.float64).T)
    off = ~np.eye(3, dtype=bool)
    assert abs(want[off]).max() > 20 * scale.max() / np.sqrt(n)  # there is something to see
    assert abs(plain[off]).max() < 5 * scale.max() / np.sqrt(n)
    mean = MIXTURE(start[:1], 0.5)
    center = table.x0[0] * mean.x0 + table.eps[0] * mean.eps
    np.testing.assert_allclose(drawn.mean(0), center[0], atol=5 * np.sqrt(np.diag(want).max() / n))


def test_with_independent_elements_it_is_the_law_of_the_table():
    grid = uniform(VP(), 3, end=0.02)
    den, table = oracles.gaussian(VP(), 0.2, 0.5), tabulate(analytic_ddpm(VP(), grid))
    full = np.asarray(draw_full_covariance(den, table, range(64), (4,), products=2))
    np.testing.assert_allclose(full, draw(den, table, range(64), (4,)), atol=2e-5)  # from the same noise


def test_refusals():
    with pytest.raises(ValueError, match="remember no predictions"):
        draw_full_covariance(MIXTURE, tabulate(dpmpp_2m(VP(), uniform(VP(), 4))), [0], (3,))
    with pytest.raises(ValueError, match="grey"):
        draw_full_covariance(MIXTURE, tabulate(analytic_ddpm(VP(), [0.9, 0.5, 0.0], grey=1)), [0], (3,))
    with pytest.raises(ValueError, match="whole number"):
        draw_full_covariance(MIXTURE, tabulate(analytic_ddpm(VP(), uniform(VP(), 4))), [0], (3,), products=0)
