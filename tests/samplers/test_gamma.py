"""gamma: between flow_map and consistency."""

import numpy as np
import pytest

from fewstep.diffusion import VE, VP, Linear
from fewstep.samplers import exact, tabulate
from fewstep.samplers.flow_map import consistency, flow_map, gamma
from fewstep.samplers.grids import uniform

every = pytest.mark.parametrize("process", [Linear(), VP(), VE(), VE(geometric=True)], ids=str)


def assert_same(one, other):
    for name, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=name)


@every
def test_0_is_flow_map(process):
    grid = uniform(process, 5)
    assert_same(tabulate(gamma(process, grid, 0.0)), tabulate(flow_map(process, grid)))


@pytest.mark.parametrize("process", [Linear(), VE()], ids=str)
def test_1_is_consistency(process):
    grid = uniform(process, 5)
    assert_same(tabulate(gamma(process, grid, 1.0)), tabulate(consistency(process, grid)))


@every
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_gaussian_stays_exact_at_every_time(process, share):
    """With the exact map, whatever the share of fresh noise: each time of the grid has the law of the process."""
    mean, var = 0.2, 0.3**2
    grid = uniform(process, 4)
    v = process.alpha(grid) ** 2 * var + process.sigma(grid) ** 2
    start = exact.Moments(np.array([process.alpha(grid[0]) * mean]), np.array([v[0]]))
    for k in range(1, 5):
        got = exact.moments(tabulate(gamma(process, grid[: k + 1], share)), process, mean, var, start)
        np.testing.assert_allclose([got.mean[0], got.var[0]], [process.alpha(grid[k]) * mean, v[k]], rtol=1e-10)
    table = tabulate(gamma(process, grid, share))
    assert (table.noise[:-1] > 0).all()
    assert table.noise[-1] == 0


def test_jumps_go_beyond_the_next_time():
    """To sqrt(1 - gamma^2) of its noise level, and the noise is gamma sigma_s."""
    process, grid = Linear(), uniform(Linear(), 4)
    table = tabulate(gamma(process, grid, 0.6))
    ratio = grid[1:-1] / (1 - grid[1:-1])
    np.testing.assert_allclose(table.s[:-1] / (1 - table.s[:-1]), 0.8 * ratio, rtol=1e-12)
    np.testing.assert_allclose(table.noise[:-1], 0.6 * grid[1:-1], rtol=1e-12)
