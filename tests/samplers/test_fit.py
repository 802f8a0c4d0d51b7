"""Fitted tables: their form, every way to fit against a closed form or all cases, and what they reach."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from refused import message

from fewstep.diffusion import VE, VP, Cond, Cosine, Discrete, Linear, oracles
from fewstep.errors import UsageError
from fewstep.samplers import GRIDS, SAMPLERS, exact, table_at, tabulate
from fewstep.samplers.fit.fit import STARTS, fit, trajectories, unfitted
from fewstep.samplers.fit.gradient import Descent
from fewstep.samplers.fit.numbers import Ends, Numbers, numbers_of, packed, placed, step, table, times, unpacked
from fewstep.samplers.fit.path import shortest, shortest_path
from fewstep.samplers.fit.rows import least_squares
from fewstep.samplers.fit.spectral import spectral
from fewstep.samplers.fit.teacher import Teacher, distance
from fewstep.samplers.tableau import reduced

MIXTURE = {"mean": [[-0.7, 0.5], [0.6, 0.6], [0.1, -0.6]], "std": [0.15, 0.2, 0.25], "weight": [0.3, 0.3, 0.4]}


def mixture(process):
    return oracles.mixture(process, *map(np.array, MIXTURE.values()))


@pytest.mark.parametrize("process", [Linear(), VP()], ids=repr)
@pytest.mark.parametrize("name", STARTS)
def test_a_sampler_is_a_point_of_the_form(name, process):
    for grid in ("uniform", "quadratic", "log_snr"):
        at = GRIDS[grid](process, 5)
        made = table_at(SAMPLERS[name], process, 5, GRIDS[grid])
        if made.nfe < 5 or len(at) != 6:
            continue
        again = table(process, *numbers_of(process, made, at[-1]))
        for ours, theirs in zip(reduced(again, process), reduced(made, process), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_what_is_no_point_of_the_form():
    process = Linear()
    for name in ("heun", "ddpm"):  # a time twice, noise
        assert numbers_of(process, table_at(SAMPLERS[name], process, 5), 0.0) is None


@pytest.mark.parametrize("process", [Linear(), VP(), VE(), Cosine(), Discrete()], ids=lambda p: type(p).__name__)
def test_a_constant_prediction_is_followed_exactly_by_all_numbers(process):
    rng = np.random.default_rng(0)
    numbers = Numbers(rng.standard_normal(5), rng.standard_normal((5, 4)))
    ends, _ = placed(process, np.array([*process.ends]), np.zeros((1, 0)))
    made = table(process, ends, numbers)
    point, noise = np.array([0.3, -0.2]), rng.standard_normal((4, 2))
    den = oracles.dataset(process, point[None])
    start = process.alpha(ends.first) * point + process.sigma(ends.first) * noise
    expected = process.alpha(ends.last) * point + process.sigma(ends.last) * noise
    np.testing.assert_allclose(exact.follow(made, den, start), expected, atol=1e-11)
    wild = times(process, ends, numbers._replace(shares=5 * rng.standard_normal(5)))
    assert (np.diff(wild) < 0).all()


def test_least_squares_finds_the_weight_of_a_closed_form():
    """Two calls on a Gaussian: the state is c x, so one weight makes the output exact, and solves a linear equation."""
    process, std = Linear(), 0.4
    den, grid = oracles.gaussian(process, np.zeros(1), np.array([std])), np.array([1.0, 0.4, 0.0])
    x = np.random.default_rng(0).standard_normal((64, 1))
    width = np.hypot((1 - grid[:2]) * std, grid[:2])[:, None, None]
    teacher = Teacher(process, grid[:2], width * x, np.zeros((2, 64, 1)), std * x, Cond())
    found = least_squares(den, teacher, *placed(process, grid, np.zeros((2, 1))), ridge=0.0)
    share = [process.alpha(t) * std**2 / (process.alpha(t) ** 2 * std**2 + process.sigma(t) ** 2) for t in grid[:2]]
    ratio, gain = step(process, grid[:-1], grid[1:])
    first = ratio[0] + gain[0] * share[0]
    d0, d1 = share[0], share[1] * first  # predictions by x
    closed = (std - ratio[1] * first - gain[1] * d1) / (gain[1] * (d0 - d1))
    assert found.weights[1, 0] == pytest.approx(closed, rel=1e-5)


@pytest.mark.slow
def test_as_many_numbers_as_conditions_make_a_table_exact():
    """Three calls on a Gaussian of three variances: five free numbers, three conditions; Gauss-Newton steps converge
    quadratically."""
    process, std = Linear(), np.array([0.2, 0.5, 0.9])
    den = oracles.gaussian(process, np.zeros(3), std)
    teacher = trajectories(den, range(256), (3,), calls=400)
    found = fit(den, 3, teacher, Descent(curved=256))
    before = min(one[1] for one in unfitted(den, 3, teacher))
    assert distance(den, found.table, teacher) < 1e-4 * before
    np.testing.assert_allclose(
        np.sqrt(exact.moments(found.table, process, np.zeros(3), std**2).var), std, rtol=1e-3
    )  # the trajectories' own error


def test_packed_numbers_come_back():
    rng = np.random.default_rng(0)
    for n in (1, 2, 5):
        numbers = Numbers(rng.standard_normal(n), np.tri(n, n - 1, -1) * rng.standard_normal((n, n - 1)))
        back, ends = unpacked(packed(numbers), n), Ends(1.0, 0.0)
        assert len(packed(numbers)) == n * (n + 1) // 2 - 1
        np.testing.assert_allclose(back.weights, numbers.weights)
        np.testing.assert_allclose(times(Linear(), ends, back), times(Linear(), ends, numbers))


def test_weights_alone_make_a_better_table_than_the_start():
    den = mixture(Linear())
    teacher = trajectories(den, range(500_000, 500_100), (2,), calls=40)
    start = numbers_of(Linear(), table_at(SAMPLERS["dpmpp_2m"], Linear(), 4), 0.0)
    found = least_squares(den, teacher, *start)
    before, after = (distance(den, table(Linear(), start[0], one), teacher) for one in (start[1], found))
    assert after < 0.7 * before


@pytest.mark.slow
@pytest.mark.parametrize("process", [Linear(), VP()], ids=repr)
def test_a_fitted_table_beats_every_unfitted_one_on_other_noise(process):
    den = mixture(process)
    teacher, judged = (trajectories(den, range(first, first + 200), (2,)) for first in (500_000, 1_000_000))
    found = fit(den, 5, teacher, Descent())
    best = min(one[1] for one in unfitted(den, 5, judged, samplers=[*STARTS, "dpm_fast", "ipndm_v"]))
    assert distance(den, found.table, judged) < 0.6 * best
    assert found.errors["fitted"] <= found.errors["start"] <= found.errors["unfitted"]
    assert (np.diff(found.table.t) < 0).all()


def test_the_shortest_path_is_that_of_all_paths():
    rng = np.random.default_rng(1)
    m, steps, later = 7, 3, 1.15
    cost = np.where(np.triu(np.ones((m, m + 1)), 1) > 0, rng.random((m, m + 1)), np.inf)

    def length(path):
        return sum(later**k * cost[a, b] for k, (a, b) in enumerate(pairwise(path)))

    every = [np.array([0, *inner, m]) for inner in combinations(range(1, m), steps - 1)]
    np.testing.assert_array_equal(shortest(cost, steps, later), min(every, key=length))


def test_the_path_is_better_than_equal_steps_where_paths_are_curved_at_one_end():
    process = VP()
    den = oracles.gaussian(process, np.zeros(1), np.array([0.1]))
    teacher = trajectories(den, range(64), (1,))
    errors = [
        distance(den, table(process, *placed(process, grid, np.zeros((6, 5)))), teacher)
        for grid in (shortest_path(teacher, process.ends[1], 6), GRIDS["uniform"](process, 6))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_states_between_the_calls_of_a_teacher():
    process, std = Linear(), 0.4
    den = oracles.gaussian(process, np.zeros(1), np.array([std]))
    coarse, fine = (trajectories(den, range(16), (1,), calls=calls) for calls in (50, 400))
    t = 0.333
    scale = np.hypot(process.alpha(t) * std, process.sigma(t))
    for teacher, bound in ((coarse, 1e-3), (fine, 2e-5)):
        np.testing.assert_allclose(teacher.at(t), scale * teacher.x[0], atol=bound)


@pytest.mark.parametrize("name", [pytest.param("ddim", marks=pytest.mark.slow), "dpmpp_2m"])
def test_a_spectral_grid_is_the_best_for_gaussian_data(name):
    """One inner time against all of them; several against the grids of the registry."""
    process, mean, var = VP(), np.zeros(3), np.array([1.0, 0.1, 0.01])

    def distance_on(grid):
        return exact.frechet(exact.moments(tabulate(SAMPLERS[name](process, grid)), process, mean, var), mean, var)

    first, last = process.ends
    every = min(distance_on(np.array([first, t, last])) for t in np.linspace(first, last, 4000)[1:-1])
    assert distance_on(spectral(process, SAMPLERS[name], 2, mean, var)) <= every * (1 + 1e-4)
    grid = spectral(process, SAMPLERS[name], 6, mean, var)
    found = distance_on(grid)
    assert all(found < distance_on(GRIDS[other](process, 6)) for other in ("uniform", "quadratic", "karras", "log_snr"))
    for i in range(1, 6):  # moving any time makes it no better by more than 1 %
        for move in (-0.02, 0.02):
            moved = grid.copy()
            moved[i] = process.time(process.lam(grid[i]) + move)
            assert not (np.diff(moved) < 0).all() or distance_on(moved) > 0.99 * found, i


def test_what_cannot_be_fitted():
    den = mixture(Linear())
    few = trajectories(den, range(4), (2,))
    assert "at least 8 trajectories" in message(lambda: fit(den, 4, few), UsageError)
