"""DPM-Solver (Lu et al. 2022, arXiv:2206.00927) and DPM-Solver++ (arXiv:2211.01095), singlestep: several calls a step.

A step of order 2 calls the network at r = 1/2 of its length in half log-SNR, one of order 3 at 1/3 and 2/3; a step of
infinite length (from alpha = 0, to sigma = 0) is one call.  With `taylor` the derivatives are those of the polynomial
through all calls; without, the published shorter form of the same order.
"""

import numpy as np

from samplers.exponential import KEEP, integral
from samplers.stages import staged, transfer
from samplers.steps import steps


def dpm_solver_2(process, grid, taylor=False):
    """DPM-Solver-2: noise form, 2 calls a step, order 2."""
    return _singlestep(process, grid, 2, "noise", taylor)


def dpm_solver_3(process, grid, taylor=False):
    """DPM-Solver-3: noise form, 3 calls a step, order 3."""
    return _singlestep(process, grid, 3, "noise", taylor)


def dpmpp_2s(process, grid, taylor=False):
    """DPM-Solver++(2S): data form, 2 calls a step, order 2."""
    return _singlestep(process, grid, 2, "data", taylor)


def dpmpp_3s(process, grid, taylor=False):
    """DPM-Solver++(3S): data form, 3 calls a step, order 3."""
    return _singlestep(process, grid, 3, "data", taylor)


def dpm_fast(process, grid, form="noise", taylor=False):
    """DPM-Solver-fast: as many calls as the grid has steps, grouped into steps of order 3 with 2 and 1 at the end.

    The inner calls of a group are at the grid's own times.  A first step from alpha = 0 and a last one to sigma = 0
    stand alone.  The orders are those of the authors: n = 3 m calls are m - 1 steps of order 3, then 2 and 1; others m
    of order 3, then one of n - 3 m.
    """
    times = [steps(grid)[0][0], *(s for _, s in steps(grid))]
    calls = len(times) - 1
    head = int(process.alpha(times[0]) == 0 and calls > 1)
    tail = int(process.sigma(times[-1]) == 0)
    groups = [1] * head + _orders(calls - head - tail) + [1] * tail
    at = 0
    for order in groups:
        yield from _step(process, times[at : at + order + 1], form, taylor)
        at += order


def _orders(calls):
    """The order list of so many calls."""
    threes, rest = divmod(calls, 3)
    if rest or not calls:
        return [3] * threes + [rest] * (rest > 0)
    return [3] * (threes - 1) + [2, 1]


def _singlestep(process, grid, order, form, taylor):
    for t, s in steps(grid):
        if integral(process, t, s, form) is None:
            yield transfer(process, t, s, KEEP[form])
            continue
        lam, h = process.lam(t), process.lam(s) - process.lam(t)
        inner = [float(process.time(np.float64(lam + k * h / order))) for k in range(1, order)]
        yield from _step(process, [t, *inner, s], form, taylor)


def _step(process, times, form, taylor):
    """The rows of one step with calls at all times but the last, one, two or three."""
    t, *inner, s = times
    step = integral(process, t, s, form)
    if step is None:
        yield transfer(process, t, s, KEEP[form])
        return
    ways = [integral(process, t, u, form) for u in inner]  # from the step's beginning to each inner time
    states = [_first(way) if k == 0 else _second(way, ways[0].h) for k, way in enumerate(ways)]
    if not ways:
        states.append(_first(step))
    elif len(ways) == 1:
        states.append(_second(step, ways[0].h) if taylor else _midpoint(step, ways[0].h))
    else:
        states.append((_parabola if taylor else _chord)(step, *(way.h / step.h for way in ways)))
    yield from staged(process, times, states, step.keep)


def _first(step):
    return [step.carry, *step.moments(1)]


def _second(step, h):
    """With the slope from here to the call at h."""
    m0, m1 = step.moments(2)
    return [step.carry, m0 - m1 * step.h / h, m1 * step.h / h]


def _midpoint(step, h):
    """The same but for m1, for which half of m0 is taken (equal in the limit)."""
    (m0,) = step.moments(1)
    lean = 0.5 * m0 * step.h / h
    return [step.carry, m0 - lean, lean]


def _chord(step, r1, r2):
    """With the slope from here to the second inner call, which at 1/3 and 2/3 makes up for the curvature."""
    m0, m1 = step.moments(2)
    return [step.carry, m0 - m1 / r2, 0.0, m1 / r2]


def _parabola(step, r1, r2):
    """With slope and curvature of the parabola through the three calls."""
    m0, m1, m2 = step.moments(3)
    to_first, to_second = np.array([-1, 1, 0]) / r1, np.array([-1, 0, 1]) / r2
    slope = (r2 * to_first - r1 * to_second) / (r2 - r1)
    curvature = 2 * (to_second - to_first) / (r2 - r1)
    return [step.carry, *(m0 * np.array([1, 0, 0]) + m1 * slope + m2 * curvature)]
