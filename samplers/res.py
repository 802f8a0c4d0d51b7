"""Exponential Runge-Kutta methods of stiff order 2 and 3 (Hochbruck & Ostermann 2005, SIAM J. Numer. Anal. 43), known
as refined exponential solvers (Zhang et al. 2023, arXiv:2308.02157).

In the half log-SNR the probability-flow ODE is d(x / alpha)/dlam = D - x / alpha, linear but for the prediction D.
With phi_1(z) = expm1(z) / z, phi_2(z) = (phi_1(z) - 1) / z and z = -h, a step with calls at lam_t + c_i h is

    x_i = carry x + alpha_i h sum_j a_ij D_j,   x_s = carry x + alpha_s h sum_i b_i D_i

It is of order 3 if sum_i b_i = phi_1(z), sum_i b_i c_i = phi_2(z), sum_j a_ij = c_i phi_1(c_i z), the errors of the
stages cancel, sum_i b_i (sum_j a_ij c_j - c_i^2 phi_2(c_i z)) = 0, and, at z = 0 alone, sum_i b_i c_i^2 = 1/3.

A step of infinite length (from alpha = 0, to sigma = 0) is one call.  No network is trained at t = 0: a step to there
takes the nodes 1/2, or 1/3 and 2/3, in place of nodes with a call at its end.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.exponential import KEEP, Integral, finite_integral, integral
from fewstep.samplers.stages import staged, transfer
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

Node = Annotated[float, Range(above=0, most=1)]


@checked
def res_2s(process: Process, grid: np.ndarray, c2: Node = 0.5) -> Iterator[Row]:
    """b = (phi_1 - phi_2 / c2, phi_2 / c2), the line through both predictions: 2 calls per step, order 2.

    With c2 = 1/2 it is dpmpp_2s with taylor=True.
    """
    for t, s in steps(grid):
        step = integral(process, t, s)
        if step is None:
            yield transfer(process, t, s, KEEP["data"])
            continue
        m, way = _inner(process, t, s, step, 0.5 if c2 == 1 and s <= 0 else c2)
        last = [step.carry, *step.weights([0.0, way.h])]
        yield from staged(process, (t, m, s), [[way.carry, way.mass], last], step.keep)


@checked
def res_3s(process: Process, grid: np.ndarray, c2: Node = 0.5, c3: Node = 1.0) -> Iterator[Row]:
    """b = (phi_1 - b_2 - b_3, gamma b_3, phi_2 / (gamma c2 + c3)), a_32 = gamma c2 phi_2(c2 z) + c3^2/c2 phi_2(c3 z)
    with gamma = c3 (3 c3 - 2) / (c2 (2 - 3 c2)), which solve the conditions above: 3 calls per step, order 3.

    With c2 = 1/3 and c3 = 2/3 (gamma = 0) it is dpmpp_3s.  Raises UsageError for c2 = 2/3 and gamma c2 + c3 = 0, where
    the conditions have no solution of this form.
    """
    if not 1e-6 < abs(_gamma(c2, c3) * c2 + c3) < np.inf:
        raise UsageError(f"res_3s has no weights for c2 = {c2:g} and c3 = {c3:g}: take other nodes, such as 0.5 and 1")
    for t, s in steps(grid):
        step = integral(process, t, s)
        if step is None:
            yield transfer(process, t, s, KEEP["data"])
            continue
        a, b = (1 / 3, 2 / 3) if 1 in (c2, c3) and s <= 0 else (c2, c3)
        gamma = _gamma(a, b)
        (m2, two), (m3, three) = (_inner(process, t, s, step, c) for c in (a, b))
        inner = three.gain * step.h * (gamma * a * _phi_2(two) + b**2 / a * _phi_2(three))
        outer = step.gain * step.h * _phi_2(step) / (gamma * a + b)
        states = [
            [two.carry, two.mass],
            [three.carry, three.mass - inner, inner],
            [step.carry, step.mass - (1 + gamma) * outer, gamma * outer, outer],
        ]
        yield from staged(process, (t, m2, m3, s), states, step.keep)


def _gamma(c2: float, c3: float) -> float:
    """b_2 / b_3."""
    return c3 * (3 * c3 - 2) / (c2 * (2 - 3 * c2)) if abs(2 - 3 * c2) > 1e-6 else np.inf


def _inner(process: Process, t: float, s: float, step: Integral, c: float) -> tuple[float, Integral]:
    """The time at the fraction c of a step in half log-SNR, and the step to there."""
    m = s if c == 1 else float(process.time(np.float64(process.lam(t) + c * step.h)))
    return m, finite_integral(process, t, m)


def _phi_2(step: Integral) -> float:
    """phi_2 of a step: int_0^h e^(u - h) u du / h^2."""
    return step.weights([0.0, step.h])[1] / (step.gain * step.h)
