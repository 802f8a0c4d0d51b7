"""DPM-Solver and DPM-Solver++ singlestep in the letters of the papers, beside our rows."""

from itertools import pairwise

import numpy as np
import pytest
from checks import INSIDE, MIXTURE, PROCESSES, assert_same

from fewstep.diffusion import VP, Linear, oracles
from fewstep.samplers import SAMPLERS, ddim, exact, log_snr, tabulate
from fewstep.samplers.singlestep import dpm_fast, dpm_solver_2, dpm_solver_3, dpmpp_2s, dpmpp_3s

GRID = INSIDE["vp"]
R1, R2 = 1 / 3, 2 / 3


def published(process, t, s, x, den, order, form, taylor):
    """One step of DPM-Solver (noise) or DPM-Solver++ (data), algorithms.md C7 and C8."""
    lam, h = process.lam(t), process.lam(s) - process.lam(t)
    data = form == "data"
    z = -h if data else h

    def model(x, t):
        pred = den(x, t)
        return pred.x0 if data else pred.eps

    def move(u, scale, p):  # from x at t to u, first order
        a, b = (process.sigma, process.alpha) if data else (process.alpha, process.sigma)
        return a(u) / a(t) * x - b(u) * np.expm1(scale * z) * p

    unit = process.alpha(s) if data else process.sigma(s)
    sign = 1 if data else -1  # of phi_2, for which data form has +
    phi2 = np.expm1(z) / z - 1  # noise: expm1(h) / h - 1; data: (1 - e^-h) / h - 1 = -(phi_2 of C8)
    phi2 = -phi2 if data else phi2
    phi3 = phi2 / h - 0.5
    first = model(x, t)
    if order == 2:
        inner = float(process.time(np.float64(lam + 0.5 * h)))
        second = model(move(inner, 0.5, first), inner)
        if taylor:
            return move(s, 1, first) + sign * unit / 0.5 * phi2 * (second - first)
        return move(s, 1, first) - unit * np.expm1(z) * (second - first)
    one, two = (float(process.time(np.float64(lam + r * h))) for r in (R1, R2))
    second = model(move(one, R1, first), one)
    phi22 = np.expm1(R2 * z) / (R2 * z) - 1
    phi22 = -phi22 if data else phi22
    at_two = process.alpha(two) if data else process.sigma(two)
    third = model(move(two, R2, first) + sign * R2 / R1 * at_two * phi22 * (second - first), two)
    if not taylor:
        return move(s, 1, first) + sign * unit / R2 * phi2 * (third - first)
    d1, d2 = (second - first) / R1, (third - first) / R2
    slope, curvature = (R2 * d1 - R1 * d2) / (R2 - R1), 2 * (d2 - d1) / (R2 - R1)
    return move(s, 1, first) + sign * unit * phi2 * slope - unit * phi3 * curvature


@pytest.mark.parametrize("taylor", [False, True])
@pytest.mark.parametrize(("sampler", "order", "form"), [
    (dpm_solver_2, 2, "noise"), (dpm_solver_3, 3, "noise"), (dpmpp_2s, 2, "data"), (dpmpp_3s, 3, "data"),
])  # fmt: skip
def test_the_published_step(sampler, order, form, taylor):
    process = VP()
    den = oracles.mixture(process, *MIXTURE)
    x = np.linspace(-2, 2, 7)[:, None]
    want = x
    for t, s in pairwise(GRID):
        want = published(process, float(t), float(s), want, den, order, form, taylor)
    got = exact.follow(tabulate(sampler(process, GRID, taylor=taylor)), den, x)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("calls", "orders"), [
    (1, [1]), (2, [2]), (3, [2, 1]), (4, [3, 1]), (5, [3, 2]), (6, [3, 2, 1]), (10, [3, 3, 3, 1]),
    (12, [3, 3, 3, 2, 1]),
])  # fmt: skip
def test_fast_has_the_order_list_of_the_authors(calls, orders):
    """A row whose call begins a step has no memory."""
    grid = log_snr(VP(), calls)
    begins = [i for i, row in enumerate(dpm_fast(VP(), grid)) if not row.past]
    assert np.diff([*begins, calls]).tolist() == orders


@pytest.mark.parametrize("calls", range(1, 13))
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_fast_calls_as_often_as_it_is_told(process, calls):
    assert len(list(dpm_fast(process, log_snr(process, calls)))) == calls
    assert len(list(dpm_fast(Linear(), np.linspace(1, 0, calls + 1)))) == calls


def test_fast_on_equal_steps_is_the_singlestep_solver():
    lam = np.linspace(-1, 2, 8)
    grid = np.asarray(VP().time(lam))
    three = dpm_solver_3(VP(), grid[[0, 3, 6]])
    assert_same([*three, *ddim(VP(), grid[6:])], dpm_fast(VP(), grid), VP())


def test_fast_is_of_order_2_for_its_last_steps():
    """Counts of one rest modulo 3 have the same steps at the end."""
    errors = []
    for calls in (325, 649):
        grid = np.asarray(VP().time(np.linspace(*exact.LAM, calls + 1)))
        errors.append(exact.path_error(tabulate(dpm_fast(VP(), grid)), VP()))
    assert np.log(errors[0] / errors[1]) / np.log(649 / 325) == pytest.approx(SAMPLERS["dpm_fast"].order, abs=0.3)
