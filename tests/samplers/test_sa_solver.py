"""SA-Solver against closed forms, its own loop written out, and golden values."""

from itertools import pairwise

import numpy as np
import pytest
from checks import MIXTURE, assert_same, inside
from golden import GRID, after, digits, row_of

from fewstep.diffusion import VE, VP, Linear, oracles
from fewstep.samplers import ddim, ddpm, exact, log_snr, reduced, tabulate, uniform
from fewstep.samplers.sa_solver import middle, sa_solver
from fewstep.samplers.tableau import Row


def adams(process, times, t, s, rate):
    """The weights of D at `times`: the moments of e^(rate u) in closed form, and a Vandermonde system."""
    h = process.lam(s) - process.lam(t)
    moments = [np.expm1(rate * h) / rate]
    for k in range(1, len(times)):
        moments.append((h**k * np.exp(rate * h) - k * moments[-1]) / rate)
    nodes = process.lam(np.array(times)) - process.lam(t)
    solved = np.linalg.solve(np.vander(nodes, increasing=True).T, moments)
    return rate * process.alpha(s) * np.exp(-rate * h) * solved


@pytest.mark.parametrize("points", [1, 2, 3])
@inside
def test_tau_zero_is_exponential_adams_bashforth(process, grid, points):
    rows = []
    for i, (t, s) in enumerate(pairwise(grid)):
        w = adams(process, grid[: i + 1][::-1][:points], t, s, 1.0)
        rows.append(Row(t, x=process.sigma(s) / process.sigma(t), x0=w[0], past=tuple(w[1:])))
    got, want = (
        reduced(tabulate(r), process) for r in (sa_solver(process, grid, points, 0, tau=0.0, lower_final=False), rows)
    )
    for name in ("start", "x0", "noise"):  # the Vandermonde systems lose digits where steps are short
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-8, atol=1e-9, err_msg=name)


@inside
def test_one_point_is_ddim_and_ddpm(process, grid):
    assert_same(sa_solver(process, grid, 1, 0, tau=0.0), ddim(process, grid), process)
    assert_same(sa_solver(process, grid, 1, 0, tau=1.0, few_steps=False), ddpm(process, grid), process)


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("process", [VP(), Linear(), VE()], ids=str)
def test_predict_evaluate_correct(process, tau):
    """The loop of the paper, which keeps the state at t and its noise; ours folds the correction into the next row."""
    rng, den = np.random.default_rng(0), oracles.mixture(process, *MIXTURE)
    grid = log_snr(process, 9, process.time(-2.0), process.time(3.0))
    table = tabulate(sa_solver(process, grid, tau=tau, few_steps=False, lower_final=False))
    z, x = rng.standard_normal((9, 5, 1)), rng.standard_normal((5, 1)) * process.sigma(grid[0])
    state, past = x, [np.zeros_like(x)] * table.history
    for i in range(9):
        pred = den(state, table.t[i])
        state = (
            table.x[i] * state + table.x0[i] * pred.x0 + sum(c * m for c, m in zip(table.past[i], past, strict=True))
        )
        state = state + table.noise[i] * z[i]
        past = [pred.x0, *past][: table.history]

    def move(x, t, s, times, values, z):
        h = process.lam(s) - process.lam(t)
        mean = process.sigma(s) / process.sigma(t) * np.exp(-(tau**2) * h) * x
        mean = mean + np.einsum("j,jbd->bd", adams(process, times, t, s, 1 + tau**2), np.array(values))
        return mean + process.sigma(s) * np.sqrt(1 - np.exp(-2 * tau**2 * h)) * z

    seen = [den(x, grid[0]).x0]
    for i, (t, s) in enumerate(pairwise(grid)):
        times, values = grid[: i + 1][::-1], seen[::-1]
        predicted = move(x, t, s, times[:3], values[:3], z[i])
        if i < 8:
            seen.append(den(predicted, s).x0)
            x = move(x, t, s, [s, *times[:3]], [seen[-1], *values[:3]], z[i])
    np.testing.assert_allclose(state, predicted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("predictor", "corrector", "order"), [(1, 0, 1), (2, 0, 2), (1, 2, 2), (3, 0, 3), (2, 3, 3)])
def test_orders_of_the_ode(predictor, corrector, order):
    got = exact.order(sa_solver, VP(), order, predictor=predictor, corrector=corrector, tau=0.0)
    assert got == pytest.approx(order, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_weak_orders(tau):
    """One point 1, two points 2; more points leave it at 2 as long as there is noise."""
    for predictor, corrector, order in ((1, 0, 1), (2, 0, 2), (3, 0, 2), (3, 4, 2)):
        options = {"predictor": predictor, "corrector": corrector, "tau": tau, "few_steps": False}
        got = exact.order(sa_solver, VP(), order, steps=640, stochastic=True, **options)
        assert got == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize(("points", "want"), [(1, 0.3858218642), (2, 0.4569834603), (3, 0.379809633)])
def test_golden_predictors(points, want):
    row = row_of(sa_solver(VP(), GRID, points, 0, tau=1.0, few_steps=False, lower_final=False))
    assert digits(after(row)) == digits(want)


def test_noise_only_in_the_middle_and_never_at_the_end():
    grid = uniform(VP(), 20)
    table = tabulate(sa_solver(VP(), grid))
    np.testing.assert_array_equal(table.noise > 0, (grid[:-1] >= 0.2) & (grid[:-1] <= 0.8))
    assert [middle(VE(), sigma / 80) for sigma in (0.01, 0.5, 20.0)] == [0, 1, 0]
    ends = [tabulate(sa_solver(VP(), grid, tau=1.0, few_steps=few)).noise for few in (True, False)]
    np.testing.assert_array_equal(ends[0][:-1], ends[1][:-1])
    assert ends[0][-1] == 0 < ends[1][-1]


@pytest.mark.parametrize("options", [{"predictor": 0}, {"corrector": -1}])
def test_impossible_points(options):
    with pytest.raises(ValueError, match=r"sa_solver\.(predictor|corrector) is a whole number"):
        tabulate(sa_solver(VP(), uniform(VP(), 3), **options))
