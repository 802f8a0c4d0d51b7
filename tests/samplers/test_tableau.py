"""Tables: what is refused, and that padding and writing do not matter."""

import numpy as np
import pytest

from fewstep.diffusion import VP, Linear, oracles
from fewstep.samplers import Row, ddim, ddpm, dpmpp_2m, draw, euler_maruyama, heun, tabulate, uniform
from fewstep.samplers.euler import classical
from fewstep.samplers.exact import follow, moments
from fewstep.samplers.tableau import pad


def test_no_rows():
    with pytest.raises(ValueError, match="at least one row"):
        tabulate([])


@pytest.mark.parametrize("name", ["x", "x0", "eps", "noise", "spread", "stretch", "t"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_coefficient_names_its_row(name, value):
    rows = [Row(0.9, x0=1.0), Row(0.5, x0=1.0)._replace(**{name: value}), Row(0.2, x0=1.0)]
    with pytest.raises(ValueError, match=rf"row 1 .*`{name}`"):
        tabulate(rows)


@pytest.mark.parametrize(("name", "value"), [("past", (1.0, np.nan)), ("keep", (np.nan, 0.0))])
def test_a_broken_memory_names_its_row(name, value):
    with pytest.raises(ValueError, match=rf"row 2 .*`{name}`"):
        tabulate([Row(0.9), Row(0.5), Row(0.2)._replace(**{name: value})])


def test_the_classical_sde_from_pure_noise_is_refused():
    """Its drift is infinite where alpha = 0."""
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"row 0 .*not finite"):
        tabulate(euler_maruyama(Linear(), uniform(Linear(), 4), w=classical))


@pytest.mark.parametrize("grid", [[0.5], [0.5, 0.5], [0.2, 0.5], [0.5, 0.0, 0.0], [[0.5, 0.1]]])
def test_what_is_not_a_grid(grid):
    with pytest.raises(ValueError, match="strictly decreasing"):
        tabulate(ddim(VP(), grid))


def test_columns():
    table = tabulate([Row(0.9, past=(2.0,), path=(0.9, 0.5)), Row(0.5, s=0.1, past=(3.0, 4.0))], start=2.5)
    assert (table.nfe, table.history) == (2, 2)
    np.testing.assert_array_equal(table.past, [[2, 0], [3, 4]])
    np.testing.assert_array_equal(table.s, [np.nan, 0.1])
    np.testing.assert_array_equal(table.path, [[0.9, 0.5], [np.nan, np.nan]])
    assert table.start == 2.5
    assert np.isnan(tabulate([Row(0.9)]).start)
    assert all(a.dtype == np.float64 for a in table)


@pytest.mark.parametrize("sampler", [ddpm, heun, dpmpp_2m])
def test_more_memory_changes_no_draw(sampler):
    den, table = oracles.mixture(VP(), [-1.0, 0.8], [0.3, 0.4]), tabulate(sampler(VP(), uniform(VP(), 6)))
    deeper = pad(table, table.nfe, 3)
    np.testing.assert_allclose(
        draw(den, deeper, range(4), (2,)), draw(den, table, range(4), (2,)), rtol=1e-6, atol=1e-6
    )
    for a, b in zip(moments(deeper, VP(), 0.2, 0.25), moments(table, VP(), 0.2, 0.25), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_padding_appends_only():
    table = tabulate(dpmpp_2m(VP(), uniform(VP(), 6)))
    padded = pad(table, 10, 2)
    assert (padded.nfe, padded.history) == (10, 2)
    for name, a, b in zip(table._fields, table, padded, strict=True):
        if name != "start":
            np.testing.assert_array_equal(b[:6, :1] if name == "past" else b[:6], a)
    assert not padded.past[:, 1].any()


def test_only_tables_without_noise_are_followed():
    with pytest.raises(ValueError, match="without noise"):
        follow(tabulate(ddpm(VP(), uniform(VP(), 3))), oracles.gaussian(VP()), np.zeros((1, 1)))
