"""DPM-Solver-v3: the forms that it contains, its exactness where the statistics say all, its order."""

from functools import partial

import numpy as np
import pytest
from checks import assert_same
from refused import message

from fewstep.diffusion import VE, VP, Linear, Pred
from fewstep.diffusion.ems import EMS
from fewstep.samplers import SAMPLERS, exact, exponential_ab, log_snr, table_at, tabulate
from fewstep.samplers.dpm_solver_v3 import dpm_solver_v3
from fewstep.samplers.registry import find

LAM = np.linspace(-7, 7, 15)
ONES = np.ones_like(LAM)
BENT = EMS(LAM, 1 / (1 + np.exp(LAM)), -0.5 + 0.4 * np.sin(LAM / 2))  # some smooth statistics
processes = pytest.mark.parametrize("process", [Linear(), VP(), VE()], ids=str)


@processes
@pytest.mark.parametrize("points", [1, 2, 3, 4])
@pytest.mark.parametrize(("form", "linear", "slope"), [("data", 1, 0), ("noise", 0, -1)])
def test_it_contains_both_exponential_forms(process, points, form, linear, slope):
    grid, known = log_snr(process, 7), EMS(LAM, linear * ONES, slope * ONES)
    rows = dpm_solver_v3(process, grid, points=points, corrector=False, known=known)
    assert_same(rows, exponential_ab(process, grid, points=points, form=form), process, 1e-10)


class Obeying:
    """A denoiser with f = size e^S at all x, so that df/dlam = s f."""

    def __init__(self, process, known, size):
        self.process, self.form, self.size = process, known, size

    def __call__(self, x, t, s=None):
        alpha, sigma, lam = self.process.alpha(t), self.process.sigma(t), self.process.lam(t)
        linear, rate = self.form.linear[0], self.form.slope[0]
        eps = alpha / sigma * (linear * x / alpha + self.size * np.exp(rate * lam))
        return Pred((x - sigma * eps) / alpha, eps)


@processes
@pytest.mark.parametrize(("linear", "slope"), [(0.7, -0.4), (1.2, 0.3), (0.0, -1.0), (-0.5, 0.8)])
def test_one_step_is_exact_where_the_model_is_its_own(process, linear, slope):
    """dz/dlam = -(l z + c e^(s lam)) in closed form."""
    known, c, (first, last) = EMS(LAM, linear * ONES, slope * ONES), np.array([[0.3], [-1.1]]), (-1.5, 1.8)
    t, end = (float(process.time(np.float64(lam))) for lam in (first, last))
    z, both = np.array([[0.4], [2.0]]), linear + slope
    grown = np.exp(both * last) - np.exp(both * first)
    want = np.exp(-linear * last) * (np.exp(linear * first) * z - c * grown / both)
    for points in (1, 3):
        rows = dpm_solver_v3(process, np.array([t, end]), points=points, known=known)
        got = exact.follow(tabulate(rows), Obeying(process, known, c), process.alpha(t) * z)
        np.testing.assert_allclose(got / process.alpha(end), want, rtol=1e-10)


@pytest.mark.parametrize("points", [1, 2, 3])
@pytest.mark.parametrize("corrector", [False, True])
def test_the_order_does_not_depend_on_the_statistics(points, corrector):
    sampler = partial(dpm_solver_v3, points=points, corrector=corrector, known=BENT, lower_final=False)
    assert abs(exact.order(sampler, VP(), points + corrector) - points - corrector) < 0.3


def test_beyond_the_statistics_they_are_constant():
    """A grid that leaves the range of the statistics is that of longer statistics with their last values."""
    inside, grid = EMS(LAM[3:-3], 0.8 * ONES[3:-3], -0.2 * ONES[3:-3]), log_snr(VP(), 9)
    assert_same(
        dpm_solver_v3(VP(), grid, known=inside),
        dpm_solver_v3(VP(), grid, known=EMS(LAM, 0.8 * ONES, -0.2 * ONES)),
        VP(),
        1e-10,
    )


def test_a_splice_hands_the_statistics_on():
    grid = log_snr(VP(), 8)
    rows = list(find("ddim:1:dpm_solver_v3")(VP(), grid, known=BENT))
    cut = len(grid) - len([row for row in rows if len(row.keep) and row.keep != (1.0, 0.0)]) - 1
    assert 0 < cut < 8
    assert rows[cut:] == list(dpm_solver_v3(VP(), grid[cut:], known=BENT))


def test_without_statistics_it_says_how_to_get_them():
    text = message(lambda: table_at(SAMPLERS["dpm_solver_v3"], VP(), 4))
    assert "fewstep calibrate RUN --statistics ems" in text
