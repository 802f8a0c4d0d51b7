"""Grids of whole indices against the lists that libraries make, and refusals."""

from functools import partial

import numpy as np
import pytest
from checks import ALL

from fewstep.diffusion import VP, Discrete, Linear
from fewstep.samplers import GRIDS, SAMPLERS, table_at
from fewstep.samplers.index_grids import leading, linspace, quadratic_ddim, trailing

every = pytest.mark.parametrize("grid", [leading, trailing, linspace, quadratic_ddim])


def indices(times, count=1000):
    n = count * times[:-1] - 1
    np.testing.assert_allclose(n, np.rint(n), atol=1e-9)
    return np.rint(n).astype(int).tolist()


# 0-based, N = 1000, K = 10 and 7, written by hand: 1000/7 = 142.857, 999/9 = 111, 999/6 = 166.5 (ties to even).
BY_HAND = {
    (leading, 10): [900, 800, 700, 600, 500, 400, 300, 200, 100, 0],
    (leading, 7): [852, 710, 568, 426, 284, 142, 0],
    (trailing, 10): [999, 899, 799, 699, 599, 499, 399, 299, 199, 99],
    (trailing, 7): [999, 856, 713, 570, 428, 285, 142],
    (linspace, 10): [999, 888, 777, 666, 555, 444, 333, 222, 111, 0],
    (linspace, 7): [999, 832, 666, 500, 333, 166, 0],
    (quadratic_ddim, 10): [800, 632, 483, 355, 246, 158, 88, 39, 9, 0],
    (quadratic_ddim, 7): [800, 555, 355, 200, 88, 22, 0],
}


@pytest.mark.parametrize(("grid", "steps"), BY_HAND, ids=lambda a: getattr(a, "__name__", a))
def test_against_lists_by_hand(grid, steps):
    times = grid(Discrete(), steps)
    assert times.dtype == np.float64
    assert indices(times) == BY_HAND[grid, steps]
    assert times[-1] == 0


def test_fifty_steps():
    process = Discrete("scaled_linear")
    assert indices(leading(process, 50, offset=1)) == list(range(981, 0, -20))
    assert indices(trailing(process, 50)) == list(range(999, 0, -20))
    assert indices(linspace(process, 50)) == np.linspace(0, 999, 50).round().astype(int)[::-1].tolist()
    assert indices(linspace(process, 50))[:4] == [999, 979, 958, 938]


@every
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_ends(grid, steps):
    for count in (1000, 37):
        times = grid(Discrete(steps=count), steps)
        assert times.shape == (steps + 1,)
        assert (np.diff(times) < 0).all()
        if grid in (trailing, linspace):
            assert times[0] == 1


def test_all_indices():
    """At K = N every grid is the training's own levels."""
    for grid in (leading, trailing, linspace):
        assert indices(grid(Discrete(), 1000)) == list(range(999, -1, -1))


def test_the_cleanest_level_as_the_end():
    """Stable Diffusion's last step, from index 1 to index 0."""
    times = leading(Discrete("scaled_linear"), 50, end=1 / 1000, offset=1)
    np.testing.assert_array_equal(times[-2:], [2 / 1000, 1 / 1000])


@every
@pytest.mark.parametrize("process", [VP(), Linear()], ids=str)
def test_a_process_without_indices(grid, process):
    with pytest.raises(ValueError, match=f"the grid {grid.__name__} needs the indices of a Discrete process"):
        grid(process, 5)


@pytest.mark.parametrize(
    ("grid", "steps", "options"),
    [(leading, 38, {}), (trailing, 38, {}), (linspace, 38, {}), (quadratic_ddim, 8, {}), (leading, 37, {"offset": 1})],
)
def test_more_steps_than_indices(grid, steps, options):
    with pytest.raises(ValueError, match=f"no {steps} different indices among 37"):
        grid(Discrete(steps=37), steps, **options)


@every
@pytest.mark.parametrize("steps", [0, -3, 2.5])
def test_steps_are_whole_and_positive(grid, steps):
    with pytest.raises(ValueError, match="steps is a whole number"):
        grid(Discrete(), steps)


@every
@pytest.mark.parametrize(
    "process", [Discrete(), pytest.param(Discrete(zero_snr=True), marks=pytest.mark.slow)], ids=str
)
def test_every_sampler_has_a_table_on_it(grid, process):
    """It begins where the grid of so many steps does, but for edm, whose first call is at a churned time."""
    assert GRIDS[grid.__name__] is grid
    starts = {grid(process, steps)[0] for steps in range(1, 11)}
    for name in SAMPLERS:
        first = table_at(ALL[name], process, 10, grid).t[0]
        assert min(starts) <= first <= process.ends[0] if name == "edm" else first in starts


@pytest.mark.parametrize("grid", [leading, trailing, linspace])
def test_all_levels_are_a_budget_and_no_more_can_be(grid):
    """A budget beyond the indices is spent as far as they go."""
    assert table_at(SAMPLERS["ddim"], Discrete(), 1000, grid).nfe == 1000
    assert table_at(SAMPLERS["ddim"], Discrete(), 1200, grid).nfe == 1000
    assert table_at(SAMPLERS["heun"], Discrete(steps=100), 150, grid).nfe in (149, 150)


@pytest.mark.slow
def test_so_are_those_above_an_end():
    grid = partial(trailing, end=0.001)
    assert table_at(SAMPLERS["ddim"], Discrete(), 700, grid).nfe == 666
    assert table_at(SAMPLERS["heun"], Discrete(), 700, grid).nfe == 700
    with pytest.raises(ValueError, match=r"leading cannot end at 0\.001"):
        table_at(SAMPLERS["ddim"], Discrete(), 8, partial(leading, end=0.001))
    with pytest.raises(ValueError, match="end is a number"):
        leading(Discrete(), 8, end=-0.5)


def test_an_end_among_the_indices_is_refused():
    with pytest.raises(ValueError, match="leading cannot end"):
        leading(Discrete(), 10, end=0.001)
    assert leading(Discrete(), 10, end=0.001, offset=1)[-1] == 0.001
