"""exact.stability: how much a perturbation of the state grows, relative to the exact flow on Gaussian data."""

import numpy as np
import pytest
from checks import PROCESSES, STD, grid_of, table_of

from diffusion import VP, Linear, oracles
from samplers import SAMPLERS, Row, exact, tabulate, uniform
from samplers.steps import steps

each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


def spread(process, t):
    return np.hypot(process.alpha(t) * STD, process.sigma(t))


@each
def test_the_exact_flow_map_keeps_every_perturbation(process):
    grid = grid_of(SAMPLERS["ddim"], process, 7)
    rows = [Row(t, s=s, x0=process.alpha(s), eps=process.sigma(s)) for t, s in steps(grid)]
    assert exact.stability(tabulate(rows), process, grid[-1], STD**2) == pytest.approx(1, abs=1e-9)


@each
@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_it_is_the_largest_of_the_perturbations_that_are_followed(process, name):
    """Every row perturbed in turn, the rows after it run on two states."""
    table, den = table_of(SAMPLERS[name], process, 6), oracles.gaussian(process, 0.0, STD)
    times = np.append(table.t, grid_of(SAMPLERS[name], process, 6)[-1])
    gains = [1.0]
    for first in range(6):
        for last in range(first, 6):
            past, x = np.zeros((max(table.history, 1), 2)), np.array([0.0, 1.0])
            for i in range(first, last + 1):
                pred = den(x, table.t[i])
                x = (
                    table.x[i] * x
                    + table.x0[i] * pred.x0
                    + table.eps[i] * pred.eps
                    + table.past[i] @ past[: table.history]
                )
                past = np.stack([table.keep[i, 0] * pred.x0 + table.keep[i, 1] * pred.eps, *past[:-1]])
            gains.append(abs(x[1] - x[0]) * spread(process, times[first]) / spread(process, times[last + 1]))
    assert exact.stability(table, process, times[-1], STD**2) == pytest.approx(max(gains), rel=1e-9)


def test_what_triples_the_state_a_row_is_unstable():
    process, grid = VP(), uniform(VP(), 4)
    rows = [Row(t, x=-3.0) for t, _ in steps(grid)]
    want = 3.0**4 * spread(process, grid[0]) / spread(process, grid[-1])
    assert exact.stability(tabulate(rows), process, grid[-1], STD**2) == pytest.approx(want)


def test_the_worst_of_several_elements_is_told():
    process = Linear()
    table = table_of(SAMPLERS["dpmpp_2m"], process, 6)
    alone = [exact.stability(table, process, 0.0, var) for var in (0.01, 1.0)]
    assert exact.stability(table, process, 0.0, [0.01, 1.0]) == pytest.approx(max(alone))
