"""A sweep over samplers and budgets compiles the draw loop twice at most: with memory, and without."""

import sys
from itertools import product

import numpy as np
import pytest
from checks import ALL

from fewstep.diffusion import VP, Linear, oracles
from fewstep.diffusion.denoiser import INSTANT, JUMP, Denoiser
from fewstep.diffusion.levers import clip_x0, curvature
from fewstep.diffusion.prediction import X0
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


class Traced:
    """A network that counts how often it is traced."""

    def __init__(self):
        self.times = 0

    def __call__(self, params, x, t, d, cond, key=None):
        self.times += 1
        return params * x

    def under(self, lever=lambda den: den, capabilities=frozenset({INSTANT})):
        return lever(Denoiser.from_function(self, 0.5, Linear(), X0, capabilities=capabilities))


def drawn(den, sampler):
    draw(den, table_at(ALL[sampler], den.process, 6), range(2), (1, 9))


def test_the_network_is_traced_once():
    """With memory and without, with noise and without, and once more with what is around it."""
    network = Traced()
    for sampler in ("ddim", "dpmpp_2m", "ddpm"):
        drawn(network.under(), sampler)
    assert network.times == 1
    drawn(network.under(clip_x0()), "ddim")
    assert network.times == 2


def test_a_network_of_jumps_is_traced_once():
    network = Traced()
    drawn(network.under(capabilities=frozenset({JUMP})), "flow_map")
    assert network.times == 1


def test_keys_of_levers_are_part_of_the_trace():
    """One trace is that of the network, the other that of its derivative."""
    network = Traced()
    drawn(network.under(curvature(1)), "analytic_ddpm")
    assert network.times == 2
