"""The trajectory of Analytic-DPM against all others."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from checks import PROCESSES
from scipy.special import rel_entr
from scipy.stats import norm

from fewstep.diffusion import VP, Linear
from fewstep.diffusion.calibrate import DEVIATIONS, Statistics
from fewstep.samplers import GRIDS, log_snr, uniform
from fewstep.samplers.optimal_grid import VARIANCES, dp, step_costs
from fewstep.samplers.steps import NoTable

LAM = np.linspace(-6, 8, 40)
SPREAD = np.array([0.02, 0.1, 0.5, 1.0])  # standard deviations of directions of the data


def opened(lam, std=SPREAD):
    """Of Gaussian data, on average over their directions."""
    return (1 / (std**-2.0 + np.exp(2 * np.asarray(lam)[..., None]))).mean(-1)


def telling(m):
    """Nats of a level with each of the deviations, where x0 - D has the law N(0, m), by quadrature: (K, 64)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    off = abs(np.sqrt(m)[:, None, None] * nodes)
    low, high = (norm.logcdf(-(off + side) / DEVIATIONS[:, None]) for side in (1 / 255, -1 / 255))
    return -(high + np.log1p(-np.exp(low - high))) @ weights / weights.sum()


NONE = np.zeros_like(LAM)
KNOWN = Statistics(LAM, opened(LAM), NONE, NONE, NONE, telling(opened(LAM)))


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_no_path_is_better(process, variance):
    count, options = 8, {"candidates": 8, "variance": variance, "known": KNOWN}
    last = process.snr_ends[1]
    times = dp(process, count, end=last, **options)
    m = np.exp(np.interp(process.lam(times), LAM, np.log(KNOWN.residual)))
    cost = step_costs(process, times, variance, m)
    for moves in range(1, count + 1):
        paths = [(0, *inner, count) for inner in combinations(range(1, count), moves - 1)]
        least = min(sum(cost[a, b] for a, b in pairwise(path)) for path in paths)
        found = dp(process, moves, end=last, **options)
        at = [int(np.argmin(abs(times - t))) for t in found]
        assert sum(cost[a, b] for a, b in pairwise(at)) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("process", [Linear(), VP()], ids=["linear", "vp"])
@pytest.mark.parametrize("variance", VARIANCES)
def test_no_path_to_the_data_is_better(process, variance):
    """Where the last step begins is chosen too."""
    count, options = 7, {"candidates": 7, "variance": variance, "known": KNOWN}
    times = dp(process, count, end=process.snr_ends[1], **options)
    m = np.exp(np.interp(process.lam(times), LAM, np.log(KNOWN.residual)))
    cost = step_costs(process, times, variance, m)
    told = np.exp(np.interp(process.lam(times), LAM, np.log(KNOWN.decoder.min(1))))
    for moves in range(1, count + 1):
        paths = [(0, *inner) for inner in combinations(range(1, count + 1), moves)]
        totals = {path: sum(cost[a, b] for a, b in pairwise(path)) + told[path[-1]] for path in paths}
        best = min(totals, key=totals.get)
        found = dp(process, moves + 1, end=0.0, **options)
        np.testing.assert_array_equal(found, [*times[list(best)], 0.0])


def test_costs_are_divergences():
    """Of two Gaussians, by an integral."""
    process, times = Linear(), np.array([0.9, 0.5])
    h = process.lam(0.5) - process.lam(0.9)
    inner, move = process.sigma(0.5) ** 2 * -np.expm1(-2 * h), process.alpha(0.5) * -np.expm1(-2 * h)
    x = np.linspace(-6, 6, 200_001)

    def density(mean, var):
        return np.exp(-((x - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var)

    m = opened(process.lam(times))
    off = np.sqrt(m[0])  # x0 - D of the mean square m
    for variance in VARIANCES:
        large = inner + move**2 * 0.9**2 / (0.1**2 + 0.9**2)
        var = {"analytic": inner + move**2 * m[0], "small": inner, "large": large}[variance]
        want = rel_entr(density(move * off, inner), density(0, var)).sum() * (x[1] - x[0])
        assert step_costs(process, times, variance, m)[0, 1] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("process", [Linear(), VP()], ids=["linear", "vp"])
@pytest.mark.parametrize("steps", [2, 3, 5, 10, 30])
@pytest.mark.parametrize("even", [uniform, log_snr])
def test_the_bound_is_better_than_on_even_steps(process, steps, even):
    """Of the steps but the last, to the data."""
    first, last = process.snr_ends
    other, best = (
        sum(cost[i, i + 1] for i in range(steps))
        for grid in (even(process, steps, start=first, end=last), dp(process, steps, end=last, known=KNOWN))
        for cost in [step_costs(process, grid, "analytic", opened(process.lam(grid)))]
    )
    assert best < 0.99 * other


def test_all_paths_are_as_good_on_gaussian_data_of_one_variance():
    for grid in (uniform(Linear(), 7, 0.9, 0.01), log_snr(Linear(), 3, 0.9, 0.01)):
        cost = step_costs(Linear(), grid, "analytic", opened(Linear().lam(grid), np.array([0.5])))
        assert sum(np.diag(cost, 1)) == pytest.approx(cost[0, -1], rel=1e-12)


def test_the_ends_and_what_cannot_be():
    grid = GRIDS["dp"](Linear(), 6, known=KNOWN)
    assert (grid[0], grid[-1]) == (Linear().snr_ends[0], 0.0)
    assert grid[-2] > Linear().snr_ends[1]  # what is left is cheaper told than drawn
    points = KNOWN._replace(decoder=np.zeros((len(LAM), 0)))
    assert dp(Linear(), 6, known=points)[-2] == Linear().snr_ends[1]
    assert (np.diff(grid) < 0).all()
    assert dp(Linear(), 1, known=KNOWN).tolist() == [Linear().snr_ends[0], 0.0]
    assert dp(Linear(), 4, start=0.7, end=0.1, known=KNOWN)[[0, -1]].tolist() == [0.7, 0.1]
    np.testing.assert_array_equal(dp(Linear(), 6, end=0.0, known=KNOWN), grid)
    assert dp(VP(), 4, end=0.0, known=KNOWN)[-1] == 0.0
    with pytest.raises(ValueError, match=r"dp.start.*alpha is 0 at 1"):
        dp(Linear(), 4, start=1.0, known=KNOWN)
    with pytest.raises(NoTable, match="no 9 steps among 7"):
        dp(Linear(), 9, candidates=7, known=KNOWN)
    for options in ({"variance": "best"}, {"candidates": 1}, {"known": None}):
        with pytest.raises(ValueError, match="dp"):
            dp(Linear(), 3, **{"known": KNOWN} | options)
    with pytest.raises(ValueError, match="whole number"):
        dp(Linear(), 2.5, known=KNOWN)
