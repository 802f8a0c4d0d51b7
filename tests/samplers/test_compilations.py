"""A sweep over samplers and budgets compiles the draw loop twice at most: with memory, and without."""

import sys
from itertools import product

import numpy as np
import pytest
from checks import ALL

from fewstep.diffusion import VP, Linear, oracles
from fewstep.diffusion.adapters import as_denoiser
from fewstep.diffusion.levers import clip_x0
from fewstep.samplers import Row, ddim, draw, log_snr, table_at, tabulate
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import pad

BUDGETS = (1, 2, 3, 5, 8, 16, 50)
SHAPE = (1, 7)  # no other test's, so that nothing is compiled yet
DEN = oracles.gaussian(VP(), 0.2, 0.5)


def deep(history, noise):
    """A sampler that remembers so many predictions, with noise or without."""

    def rows(process, grid):
        for t in grid[:-1]:
            yield Row(t, x=0.5, x0=0.5, past=(0.1,) * history, noise=noise)

    return rows


def compilations(samplers, shape):
    """How often the loop is compiled, and the number of tables, for every budget of every sampler."""
    run = sys.modules["fewstep.samplers.loop"]._run
    before, tables = run._cache_size(), 0
    for sampler, budget in product(samplers, BUDGETS):
        try:
            table = table_at(sampler, DEN.process, budget)
        except NoTable:
            continue
        draw(DEN, table, range(2), shape)
        tables += 1
    return run._cache_size() - before, tables


@pytest.mark.slow
def test_a_sweep_of_all_samplers_compiles_at_most_twice():
    """But those that ask the network for more than its mean, for which the loop is another, and pndm, which remembers
    twelve calls.
    """
    samplers = [sampler for sampler in ALL.values() if not sampler.needs and sampler.name != "pndm"]
    samplers += [deep(history, noise) for history, noise in product(range(5), (0.0, 0.1))]
    compiled, tables = compilations(samplers, SHAPE)
    assert len(samplers) >= 12
    assert tables > 6 * len(samplers)
    assert compiled == 2


def test_two_tables_of_one_sampler_on_two_grids_are_one_program():
    """Two for all budgets, as in one and two calls nothing is remembered."""
    assert compilations([ALL["dpmpp_2m"]], (1, 8)) == (2, len(BUDGETS))
    run = sys.modules["fewstep.samplers.loop"]._run
    before = run._cache_size()
    draw(DEN, tabulate(ALL["dpmpp_2m"](DEN.process, np.linspace(1, 0.1, 12))), range(2), (1, 8))
    draw(DEN, tabulate(ALL["dpmpp_2m"](DEN.process, log_snr(DEN.process, 9))), range(2), (1, 8))
    assert run._cache_size() == before


def test_idle_memory_changes_nothing():
    table = tabulate(ddim(DEN.process, log_snr(DEN.process, 6)))
    plain, padded = (draw(DEN, rows, range(4), SHAPE) for rows in (table, pad(table, table.nfe, 1)))
    np.testing.assert_allclose(plain, padded, rtol=1e-6, atol=1e-6)


def test_the_network_is_traced_once():
    """With memory and without, with noise and without, and once more with what is around it."""
    traced = []

    def network(x, t):
        traced.append(x.shape)
        return 0.5 * x

    den = as_denoiser(network, Linear())
    for sampler in ("ddim", "dpmpp_2m", "ddpm"):
        draw(den, table_at(ALL[sampler], den.process, 6), range(2), (1, 9))
    assert len(traced) == 1
    draw(clip_x0()(den), table_at(ALL["ddim"], den.process, 6), range(2), (1, 9))
    assert len(traced) == 2
