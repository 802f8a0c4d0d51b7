"""DDIM inversion: the way from data to noise; and how stable tables are."""

import numpy as np
import pytest
from checks import MEAN, MIXTURE, STD, common, each, on

from fewstep.diffusion import VP, Linear, oracles
from fewstep.samplers import Row, ddim, draw, exact, tabulate
from fewstep.samplers.inversion import ddim_inversion, lowest
from fewstep.samplers.start import noised


def between(process, steps, low=-2.0, high=3.0):
    """Falling times, equally spaced in the half log-SNR."""
    return np.asarray(process.time(np.linspace(low, high, steps + 1)))


def up(process, grid):
    return tabulate(ddim_inversion(process, grid[::-1]))


@each
def test_the_way_back_is_ddim_read_backwards(process):
    """Where the predictions stay the same, a step up and the step down undo each other."""
    grid = between(process, 5)
    there, back = up(process, grid), tabulate(ddim(process, grid))
    np.testing.assert_array_equal(there.t, grid[:0:-1])
    np.testing.assert_allclose(there.x0, process.alpha(grid[-2::-1]), rtol=1e-15)
    np.testing.assert_allclose(there.eps, process.sigma(grid[-2::-1]), rtol=1e-15)
    np.testing.assert_allclose(there.eps[:-1], back.eps[-2::-1], rtol=1e-12)


@each
def test_order_one_against_the_flow_map_of_a_gaussian(process):
    """Up: x_1 = alpha_1 m + sqrt(V_1 / V_0) (x_0 - alpha_0 m), V = alpha^2 c^2 + sigma^2."""
    den, errors = oracles.gaussian(process, MEAN, STD), []
    for steps in (80, 160):
        grid = between(process, steps)
        (a1, a0), (s1, s0) = process.alpha(grid[[0, -1]]), process.sigma(grid[[0, -1]])
        x = np.linspace(-1.0, 1.5, 6)[:, None]
        want = a1 * MEAN + np.sqrt(((a1 * STD) ** 2 + s1**2) / ((a0 * STD) ** 2 + s0**2)) * (x - a0 * MEAN)
        errors.append(np.abs(exact.follow(up(process, grid), den, x) - want).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)


@each
def test_a_round_trip_comes_back_as_one_over_the_steps(process):
    den, errors = oracles.mixture(process, *MIXTURE), []
    for steps in (100, 200):
        grid = between(process, steps)
        x = process.alpha(grid[-1]) * np.linspace(-1.2, 1.2, 7)[:, None]
        noise = exact.follow(up(process, grid), den, x)
        errors.append(np.abs(exact.follow(tabulate(ddim(process, grid)), den, noise) - x).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.2)


def test_a_way_up_is_refused_what_falls_or_begins_at_the_data():
    for times in ([0.5, 0.2], [0.0, 0.5], [0.1], [0.1, 0.1]):
        with pytest.raises(ValueError, match="strictly increasing times above 0"):
            ddim_inversion(VP(), times)


@each
def test_the_lowest_time_has_little_noise(process):
    low = lowest(process)
    assert 0 < low < process.ends[0]
    assert process.sigma(low) / process.alpha(low) <= 0.011


@on("linear", "vp", "ve")
def test_what_is_noised_to_the_top_is_what_a_draw_begins_with(process):
    """alpha x0 is added to the seed's own initial noise, to float32 rounding."""
    table, seeds = common(tabulate([Row(0.7, x=1.0)])), np.arange(5, 9)
    images = np.linspace(-1, 1, 4 * 6, dtype=np.float32).reshape(4, 3, 2, 1)
    begun = np.asarray(draw(oracles.gaussian(process), table, seeds, (3, 2, 1)))
    np.testing.assert_allclose(noised(process, 0.7, seeds, 0 * images), begun, rtol=1e-6)
    got = noised(process, 0.7, seeds, images)
    np.testing.assert_allclose(got, begun + process.alpha(0.7) * images, rtol=1e-5, atol=1e-5)


@each
def test_stability_of_ddim_in_closed_form(process):
    """A row multiplies by (alpha_s alpha_t c^2 + sigma_s sigma_t) / V_t; the largest tail product is the table's."""
    grid = between(process, 6)
    (at, as_), (st, ss) = (np.array([f(grid)[:-1], f(grid)[1:]]) for f in (process.alpha, process.sigma))
    rows = (as_ * at * STD**2 + ss * st) / ((at * STD) ** 2 + st**2)
    got = exact.stability(tabulate(ddim(process, grid)), process, STD**2)
    assert got.row == pytest.approx(rows.max(), rel=1e-12)
    assert got.table == pytest.approx(np.cumprod(rows[::-1]).max(), rel=1e-12)


def test_stability_counts_what_memory_carries_on_and_the_worst_element():
    process = Linear()
    doubling = tabulate([Row(t, x=2.0) for t in (0.9, 0.6, 0.3)])
    assert exact.stability(doubling, process, [0.25, 4.0]) == (2.0, 8.0)
    table = tabulate([Row(0.8, x=1.0), Row(0.4, x=1.0, past=(-3.0,))])  # remembers D, of slope d at 0.8
    den = oracles.gaussian(process, 0.0, STD)
    slope = float(den(np.ones((1, 1)), 0.8).x0[0, 0])
    assert exact.stability(table, process, STD**2).table == pytest.approx(max(abs(1 - 3 * slope), 1.0), rel=1e-12)
