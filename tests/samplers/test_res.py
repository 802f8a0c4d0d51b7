"""Exponential Runge-Kutta methods: the conditions that they are derived from, and what they are at other nodes."""

import numpy as np
import pytest
from checks import PROCESSES, assert_same, inside

from fewstep.diffusion import VP
from fewstep.samplers import dpmpp_2s, dpmpp_3s, log_snr, tabulate
from fewstep.samplers.exact import order
from fewstep.samplers.res import res_2s, res_3s

FREE = [(0.5, 1.0), (0.25, 0.5), (0.3, 0.8), (1.0, 0.4)]


@inside
def test_two_calls_at_half_a_step_are_dpmpp_2s_by_taylor(process, grid):
    assert_same(res_2s(process, grid), dpmpp_2s(process, grid, taylor=True), process)


@inside
def test_three_calls_at_thirds_are_dpmpp_3s(process, grid):
    assert_same(res_3s(process, grid, 1 / 3, 2 / 3), dpmpp_3s(process, grid), process)


def phi(k, z):
    """phi_1 to phi_3."""
    value = np.expm1(z) / z
    for i in range(1, k):
        value = (value - 1 / np.prod(np.arange(1, i + 1))) / z
    return value


@pytest.mark.parametrize(("c2", "c3"), [(c2, None) for c2 in (0.3, 0.5, 1.0)] + FREE)
@pytest.mark.parametrize("h", [0.3, 2.0])
def test_the_order_conditions(c2, c3, h):
    """From the weights of one step, read off by running its rows; h is large enough for the powers of z to differ."""
    process = VP()
    t, s = (float(process.time(np.float64(lam))) for lam in (0.2, 0.2 + h))
    rows = res_2s(process, [t, s], c2) if c3 is None else res_3s(process, [t, s], c2, c3)
    c = np.array([0.0, c2] if c3 is None else [0.0, c2, c3])
    stages = weights(tabulate(rows), process, t, [*c[1:], 1.0], h)
    b, inner = stages[-1], [np.zeros(len(c)), *stages[:-1]]
    assert sum(b) == pytest.approx(phi(1, -h), rel=1e-10)
    assert b @ c == pytest.approx(phi(2, -h), rel=1e-10)
    for c_i, a in zip(c[1:], inner[1:], strict=True):
        assert sum(a) == pytest.approx(c_i * phi(1, -c_i * h), rel=1e-10)
    if c3 is not None:
        errors = [a @ c - (c_i**2 * phi(2, -c_i * h) if c_i else 0.0) for c_i, a in zip(c, inner, strict=True)]
        assert b @ np.array(errors) == pytest.approx(0, abs=1e-12)


def test_the_condition_at_zero_length():
    """sum_i b_i c_i^2 = 1/3, which no longer holds for long steps."""
    process, h = VP(), 1e-3
    t, s = (float(process.time(np.float64(lam))) for lam in (0.2, 0.2 + h))
    for c2, c3 in FREE:
        b = weights(tabulate(res_3s(process, [t, s], c2, c3)), process, t, [c2, c3, 1.0], h)[-1]
        assert b @ np.array([0.0, c2, c3]) ** 2 == pytest.approx(1 / 3, abs=1e-3)


def weights(table, process, t, ends, h):
    """(a_2, ..., b), of the predictions in the states after each row: x_i = carry x + alpha_i h sum_j a_ij D_j."""
    n, lam, found = table.nfe, process.lam(t), []
    x, memory = np.zeros(1 + n), []  # coefficients of the x of the step, and of every D
    x[0] = 1.0
    for i, c in enumerate(ends):
        d = np.eye(1 + n)[1 + i]
        alpha, sigma = process.alpha(table.t[i]), process.sigma(table.t[i])
        x = table.x[i] * x + table.x0[i] * d + table.eps[i] * (x - alpha * d) / sigma
        x = x + sum(w * m for w, m in zip(table.past[i], memory, strict=False))
        memory.insert(0, d)
        found.append(x[1:] / (process.alpha(float(process.time(np.float64(lam + c * h)))) * h))
    return found


@pytest.mark.parametrize(("c2", "c3"), FREE)
def test_the_order_does_not_depend_on_the_nodes(c2, c3):
    for process in (VP(), PROCESSES["linear"]):
        assert order(res_2s, process, 2, c2=c2) == pytest.approx(2, abs=0.3)
        assert order(res_3s, process, 3, c2=c2, c3=c3) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize(("c2", "c3"), [(2 / 3, 1.0), (1.0, 0.0), (0.5, 1.5)])
def test_nodes_without_weights(c2, c3):
    with pytest.raises(ValueError, match="res_3s"):
        tabulate(res_3s(VP(), log_snr(VP(), 3), c2, c3))
