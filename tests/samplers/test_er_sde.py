"""ER-SDE against the samplers it contains, closed forms and golden values."""

from itertools import pairwise

import numpy as np
import pytest
from checks import assert_same, inside
from golden import GRID, after, digits, row_of

from fewstep.diffusion import VE, VP, Linear
from fewstep.samplers import SAMPLERS, ddim, ddpm, exact, tabulate, uniform
from fewstep.samplers.er_sde import PHIS, er_sde
from fewstep.samplers.tableau import Row


@inside
def test_one_point_is_ddim_and_ddpm(process, grid):
    assert_same(er_sde(process, grid, 1, "ode"), ddim(process, grid), process)
    assert_same(er_sde(process, grid, 1, lambda v: v**2), ddpm(process, grid), process)


@inside
def test_two_points_of_the_ode_in_closed_form(process, grid):
    """v_s - v_t + v_s log(v_t / v_s) times the difference quotient of the predictions."""
    rows, levels = [], np.exp(-process.lam(grid))
    for i, (t, s) in enumerate(pairwise(grid)):
        now, then = levels[i], levels[i + 1]
        row = Row(t, x=process.sigma(s) / process.sigma(t), x0=process.alpha(s) * (1 - then / now))
        if i:
            lean = process.alpha(s) * (then - now + then * np.log(now / then)) / (now - levels[i - 1])
            row = row._replace(x0=row.x0 + lean, past=(-lean,))
        rows.append(row)
    assert_same(er_sde(process, grid, 2, "ode"), rows, process, tolerance=1e-10)


@pytest.mark.parametrize(
    ("points", "corrected", "want"),
    [(1, True, 0.4772900217), (2, True, 0.5071622603), (3, False, 0.5037019001), (3, True, 0.4977094408)],
)
def test_golden_means(points, corrected, want):
    row = row_of(er_sde(VP(), GRID, points, corrected=corrected))
    assert digits(after(row)) == digits(want)
    assert digits(row.noise) == "0.1602188047"


@pytest.mark.parametrize(("points", "corrected", "order"), [(1, True, 1), (2, True, 2), (3, False, 2), (3, True, 3)])
def test_orders_of_the_ode(points, corrected, order):
    """As published three points are of second order; the corrected slope makes them of third."""
    got = exact.order(er_sde, VP(), order, steps=160, points=points, phi="ode", corrected=corrected)
    assert got == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("phi", sorted(set(PHIS) - {"ode"}))
def test_weak_orders(phi):
    for points in (1, 2):
        got = exact.order(er_sde, VP(), points, steps=640, stochastic=True, points=points, phi=phi)
        assert got == pytest.approx(points, abs=0.3)


@pytest.mark.slow
def test_the_weak_order_in_the_limit():
    """The errors of order 3 are larger up to some 300 steps; in the limit those of the noise, of order 2, remain."""
    got = exact.order(SAMPLERS["er_sde"], VP(), 3, steps=5120, stochastic=True)
    assert got == pytest.approx(SAMPLERS["er_sde"].order, abs=0.3)


@pytest.mark.parametrize("phi", sorted(PHIS))
def test_from_no_data_at_all_to_no_noise_at_all(phi):
    """The first step is the limit alpha -> 0 of others, the last the predicted clean image."""
    first, *_, last = er_sde(Linear(), uniform(Linear(), 6), phi=phi)
    assert first.x == pytest.approx(5 / 6 if phi == "ode" else 0.0, abs=1e-30)
    assert first.x0 == pytest.approx(1 / 6)
    assert first.noise == pytest.approx(0.0 if phi == "ode" else 5 / 6)
    assert last == Row(last.t, x0=1.0)


def test_impossible_options():
    grid = uniform(VE(), 3)
    for options, match in (
        ({"points": 4}, "er_sde.points"),
        ({"phi": "x^7"}, "'x\\^2.5' or a function"),
        ({"phi": lambda v: v**0.5}, "must not decrease"),
    ):
        with pytest.raises(ValueError, match=match):
            tabulate(er_sde(VE(), grid, **options))
