"""What every sampler of the registry must satisfy on every process; a new one is tested without an edit here."""

from functools import cache, partial

import jax
import numpy as np
import pytest
from checks import (
    AFFINE,
    ALL,
    MEAN,
    MIXTURE,
    PROCESSES,
    RESEMBLING,
    SMOOTH,
    STD,
    Count,
    Counting,
    Zero,
    check_coefficients,
    check_marginal,
    check_moments,
    check_order,
    common,
    each_kind,
    gaussian_draw,
    grid_of,
    on,
    table_of,
)

from fewstep.diffusion import VE, VP, oracles
from fewstep.samplers import GRIDS, SAMPLERS, Row, draw, exact, table_at, tabulate

# Exact for constant predictions only where the path is affine in t.
IN_TIME = ("euler", "heun", "euler_maruyama", "interpolant_sde", "interpolant_sde heun")
LATE = ("langevin", "interpolant_sde")  # their weak orders have settled at 640 steps only, those of others at 160
# Calls of the dearest step where not all are alike: one brings a restart with it, starts the method, or moves others
# over the levels of a splice.
DEAREST = {"restart": 8, "plms": 2, "pndm": 4, "rho_rk2:2:unipc:0.3:res_3s": 5}

# The last steps of methods of first order are long there.
LONG = (PROCESSES["ve_geometric"], PROCESSES["discrete_zero_snr"])
every = pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)


def tables(sampler, process, steps):
    """Tables of these step counts, without those that the sampler refuses (Heun in one step)."""
    for k in steps:
        try:
            yield table_of(sampler, process, k), grid_of(sampler, process, k)
        except ValueError:
            assert k == 1


@on("linear")
def test_finite_and_independent_of_the_batch(process):
    """Every sampler, from pure noise, on data that makes the flow curved."""
    curved, jumping = oracles.mixture(process, *MIXTURE), oracles.gaussian(process, MEAN, STD)
    shape, seeds = (3, 2, 1), np.arange(100, 116)
    for name, sampler in ALL.items():
        den = jumping if {"jump", "zero"} & getattr(sampler, "needs", set()) else curved
        table = common(table_at(sampler, process, 8))
        sixteen = np.asarray(draw(den, table, seeds, shape))
        assert np.isfinite(sixteen).all(), name
        for n in (1, 4):
            some = draw(den, table, seeds[-n:], shape)
            np.testing.assert_allclose(some, sixteen[-n:], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("process", [PROCESSES["vp"], PROCESSES["ve"]], ids=["vp", "ve"])
def test_noise_is_bit_equal_in_every_batch(process):
    """The initial state, and the fresh noise of each row."""
    table, seeds = tabulate([Row(t, x=1.0, noise=1.0) for t in (1.0, 0.6, 0.3)]), np.arange(100, 116)
    end, seen = draw(Zero(process), table, seeds, (3, 2, 1), trajectory=True)
    for n in (1, 4):
        some, seen_n = draw(Zero(process), table, seeds[-n:], (3, 2, 1), trajectory=True)
        np.testing.assert_array_equal(some, end[-n:])
        np.testing.assert_array_equal(seen_n.x, seen.x[:, -n:])
    states = np.concatenate([seen.x, end[None]])
    noise = np.diff(states, axis=0).reshape(3, 16, -1)
    assert len(np.unique(noise.round(3))) > 0.9 * noise.size  # every row and every image its own


@every
@each_kind
def test_moments_are_those_of_samples(sampler, process):
    table = table_at(sampler, process, 10)
    check_moments(gaussian_draw(table, process), exact.moments(table, process, MEAN, STD**2))


@every
@each_kind
def test_many_steps_reach_the_exact_law(sampler, process):
    steps = 200 if sampler.order not in (0, 1) else 2000 if process in LONG else 600
    check_marginal(table_of(sampler, process, steps), process, grid_of(sampler, process, steps)[-1])


@every
@each_kind
def test_order(sampler, process):
    if sampler.name == "dpm_fast":
        pytest.skip("its last steps change with the number of calls: test_singlestep.py compares like with like")
    if sampler.name in IN_TIME:
        process = SMOOTH.get(process, process)
    steps = 160 if sampler.stochastic and sampler.name not in LATE else None
    if sampler is SAMPLERS["er_sde"]:  # its limit, far below the steps that anyone takes, is in test_er_sde.py
        return check_order(sampler, process, 3, True, steps=80)
    check_order(sampler, process, sampler.order, sampler.stochastic, steps)


EXACT = [
    pytest.param(sampler, process, id=f"{name}-{key}", marks=[pytest.mark.slow] * (key in RESEMBLING))
    for name, sampler in ALL.items()
    for key, process in PROCESSES.items()
    if name not in IN_TIME or process in AFFINE
]


@pytest.mark.parametrize(("sampler", "process"), EXACT)
def test_coefficients(sampler, process):
    """On all processes for methods that are exact for constant predictions there, on affine ones for all."""
    for table, grid in tables(sampler, process, (1, 2, 5, 16, 40)):
        check_coefficients(table, process, grid[-1], noise=not sampler.stochastic)


@every
@each_kind
def test_tables(sampler, process):
    """Float64, finite, never a call at t <= 0, clean where the grid ends at sigma = 0."""
    for table, grid in tables(sampler, process, (1, 2, 3, 17)):
        assert all(a.dtype == np.float64 for a in table)
        assert (table.t > 0).all()
        assert table.t[0] == grid[0]
        if process.sigma(grid[-1]) == 0:
            last = [getattr(table, name)[-1] for name in ("x", "x0", "eps", "noise", "spread")]
            assert last == [0, 1, 0, 0, 0]
            assert not table.past[-1].any()


@every
@on("linear")
def test_budgets(sampler, process):
    """The largest number of steps whose table has at most nfe rows.  Rows are made once for each number."""
    made = cache(lambda times: list(sampler(process, np.array(times))))
    found = {len(grid) - 1: table for table, grid in tables(sampler, process, range(1, 22))}
    for nfe in range(1, 21):
        budget = partial(table_at, lambda _, times: made(tuple(times)), process, nfe, GRIDS[sampler.grid_for(process)])
        fitting = [steps for steps, table in found.items() if table.nfe <= nfe]
        if not fitting:
            with pytest.raises(ValueError, match="no table of"):
                budget()
            continue
        got = budget()
        for a, b in zip(got, found[max(fitting)], strict=True):
            np.testing.assert_array_equal(a, b)
        assert got.nfe > nfe - DEAREST.get(sampler.name, sampler.calls)


@pytest.mark.parametrize("nfe", range(9, 40, 5))
def test_budgets_where_calls_do_not_grow_with_the_steps(nfe):
    """A restart of many repeats comes and goes with the steps."""
    sampler = partial(SAMPLERS["restart"], intervals=((6, 10, 0.05, 0.06),))
    grid = GRIDS["karras"]
    rows = [tabulate(sampler(VE(), grid(VE(), steps))).nfe for steps in range(1, nfe + 2)]
    assert sorted(rows) != rows
    assert table_at(sampler, VE(), nfe, grid).nfe == next(n for n in reversed(rows) if n <= nfe)


@each_kind
def test_heun_is_refused_one_call(process):
    with pytest.raises(ValueError, match="no table of 1 network calls"):
        table_at(SAMPLERS["heun"], process, 1)


@pytest.mark.parametrize("nfe", [0, -1, 2.5])
def test_budgets_are_whole_numbers(nfe):
    with pytest.raises(ValueError, match="whole number"):
        table_at(SAMPLERS["ddim"], VP(), nfe)


@every
@on("vp")
def test_network_calls_are_the_rows(sampler, process):
    table, count = common(table_at(sampler, process, 5)), Count()
    with jax.disable_jit():
        draw(Counting(Zero(process), count), table, [0], (1,))
    assert count.calls == table.nfe
    np.testing.assert_allclose(count.times, table.t, rtol=1e-6)


@pytest.fixture(scope="module")
def count():
    """One for all samplers, and so one compilation."""
    return Count()


@every
def test_network_calls_of_the_compiled_loop(sampler, count):
    """The rows that pad the table are never run."""
    for nfe in (5, 8):
        table, before = common(table_at(sampler, VP(), nfe)), count.calls
        draw(Counting(Zero(VP()), count, True), table, [0], (1,)).block_until_ready()
        jax.effects_barrier()
        assert count.calls - before == table.nfe
