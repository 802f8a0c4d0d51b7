"""Restart: the law after its noise, its costs, and Heun's method where there is none."""

import numpy as np
import pytest
from checks import assert_same, each

from fewstep.diffusion import VE, VP
from fewstep.samplers import SAMPLERS, heun, karras, table_at, tabulate, uniform
from fewstep.samplers.churn import edm
from fewstep.samplers.exact import Moments, moments
from fewstep.samplers.restart import restart


def head(table, rows):
    return table._replace(**{k: a[:rows] for k, a in table._asdict().items() if a.ndim})


@each
def test_the_noise_leads_from_one_marginal_to_the_other(process):
    """c^2 + low^2 becomes c^2 + high^2, times alpha^2: the row that ends at low, with and without what follows it."""
    grid, c2 = karras(process, 40, 0.9, 0.1), 0.25
    high = 1.5 * process.sigma(grid[20]) / process.alpha(grid[20])
    low = high / 1.5
    table, plain = tabulate(restart(process, grid, ((2, 1, low, high),))), tabulate(restart(process, grid, ()))
    start = Moments(np.zeros(1), np.array([process.alpha(0.9) ** 2 * c2 + process.sigma(0.9) ** 2]))
    rows = 40  # 20 steps
    before, after = (moments(head(t, rows), process, 0.0, c2, start).var[0] for t in (plain, table))
    t, s = table.t[rows], grid[20]
    assert process.sigma(t) / process.alpha(t) == pytest.approx(high, rel=1e-9)
    want = before / process.alpha(s) ** 2 + high**2 - low**2
    assert after / process.alpha(t) ** 2 == pytest.approx(want, rel=1e-9)


@each
def test_without_intervals_it_is_edm_without_churn(process):
    grid = uniform(process, 7)
    assert_same(restart(process, grid, ()), edm(process, grid, churn=0.0), process)
    far = ((3, 2, 1e-3, 1.001e-3),)  # its low is nearest to a time above its high
    assert_same(
        restart(process, uniform(process, 7, 0.95, 0.3), far),
        edm(process, uniform(process, 7, 0.95, 0.3), 0.0),
        process,
    )


def test_on_ve_it_is_heun_down_to_the_interval():
    grid = karras(VE(), 10)
    table, plain = tabulate(restart(VE(), grid)), tabulate(heun(VE(), grid))
    rows = int(np.argmax(table.noise > 0))
    np.testing.assert_array_equal(table.t[: rows + 1], plain.t[: rows + 1])


def test_calls():
    """2 a step and 1 for the last, and 2 for each step of each repeat; low is the nearest time of the grid."""
    grid = karras(VE(), 18)
    level = VE().sigma(grid)
    for intervals, more in (
        (((3, 1, 0.06, 0.3),), 6),
        (((3, 4, 0.06, 0.3),), 24),
        (((3, 1, 1.0, 2.0), (5, 2, 0.06, 0.3)), 26),
    ):
        assert tabulate(restart(VE(), grid, intervals)).nfe == 35 + more
    nearest = grid[np.argmin(np.abs(np.log(level[:-1] / 0.06)))]
    table = tabulate(restart(VE(), grid, ((3, 4, 0.06, 0.3),)))
    assert (table.noise > 0).sum() == 4
    added = 0.3**2 - VE().sigma(nearest) ** 2
    np.testing.assert_allclose(table.noise[table.noise > 0] ** 2, added, rtol=1e-9)
    again = VE().sigma(table.t)[np.argmax(table.noise > 0) + 1 :][:6]
    np.testing.assert_allclose(again[1:5:2], VE().sigma(karras(VE(), 3, 0.3 / 80, nearest))[1:3], rtol=1e-9)


@each
def test_small_budgets(process):
    """From a few calls on there is room for the default's restart."""
    table = table_at(SAMPLERS["restart"], process, 12)
    assert (table.noise > 0).sum() == 1
    assert table.nfe >= 8


def test_the_published_default_adds_no_noise():
    assert not tabulate(restart(VP(), karras(VP(), 12), s_noise=0.0)).noise.any()


@pytest.mark.parametrize("interval", [(3, 1, 0.3, 0.1), (3, 1, 0.0, 1.0), (3, 1, 0.1, 1e9)])
def test_impossible_intervals(interval):
    with pytest.raises(ValueError, match=r"restart goes from|restart\.intervals is"):
        tabulate(restart(VP(), karras(VP(), 6), (interval,)))


def test_no_interval_goes_above_the_start_of_the_grid():
    """As where an image is noised to an inner time."""
    process, grid = VE(), karras(VE(), 12, start=0.005)  # sigma 0.4, below the default high
    assert_same(restart(process, grid), edm(process, grid, churn=0.0), process)
