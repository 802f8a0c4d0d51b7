"""DPM-Solver (Lu et al. 2022, arXiv:2206.00927) and DPM-Solver++ (arXiv:2211.01095), singlestep methods.

A step of order 2 calls the network at r = 1/2 of its length in half log-SNR, a step of order 3 at 1/3 and 2/3; a step
of infinite length (from alpha = 0, to sigma = 0) is one call.  With `taylor` the derivatives are those of the
polynomial through all calls; without, the step has the published shorter form of the same order.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.samplers import first_step
from fewstep.samplers.exponential import KEEP, Integral, finite_integral, integral
from fewstep.samplers.stages import staged, transfer
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row


def dpm_solver_2(process: Process, grid: np.ndarray, taylor: bool = False, first: str = "network") -> Iterable[Row]:
    """DPM-Solver-2: noise form, 2 calls per step, order 2.  first: "network", or "analytic" for no call in the first
    step (first_step.py)."""
    return first_step.start(_singlestep(process, grid, 2, "noise", taylor), process, first)


def dpm_solver_3(process: Process, grid: np.ndarray, taylor: bool = False) -> Iterator[Row]:
    """DPM-Solver-3: noise form, 3 calls per step, order 3."""
    return _singlestep(process, grid, 3, "noise", taylor)


def dpmpp_2s(process: Process, grid: np.ndarray, taylor: bool = False) -> Iterator[Row]:
    """DPM-Solver++(2S): data form, 2 calls per step, order 2."""
    return _singlestep(process, grid, 2, "data", taylor)


def dpmpp_3s(process: Process, grid: np.ndarray, taylor: bool = False) -> Iterator[Row]:
    """DPM-Solver++(3S): data form, 3 calls per step, order 3."""
    return _singlestep(process, grid, 3, "data", taylor)


def dpm_fast(process: Process, grid: np.ndarray, form: str = "noise", taylor: bool = False) -> Iterator[Row]:
    """DPM-Solver-fast: one call per step of the grid, grouped into steps of order 3, with orders 2 and 1 at the end.

    The inner calls of a group are at times of the grid.  A first step from alpha = 0 and a last one to sigma = 0 are
    groups of their own.  The orders are those of the authors: n = 3 m calls are m - 1 steps of order 3, then orders 2
    and 1; otherwise m steps of order 3, then one of order n - 3 m.
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


def _orders(calls: int) -> list[int]:
    """The orders of the steps for a number of calls."""
    threes, rest = divmod(calls, 3)
    if rest or not calls:
        return [3] * threes + [rest] * (rest > 0)
    return [3] * (threes - 1) + [2, 1]


def _singlestep(process: Process, grid: np.ndarray, order: int, form: str, taylor: bool) -> Iterator[Row]:
    for t, s in steps(grid):
        if integral(process, t, s, form) is None:
            yield transfer(process, t, s, KEEP[form])
            continue
        lam, h = process.lam(t), process.lam(s) - process.lam(t)
        inner = [float(process.time(np.float64(lam + k * h / order))) for k in range(1, order)]
        yield from _step(process, [t, *inner, s], form, taylor)


def _step(process: Process, times: Sequence[float], form: str, taylor: bool) -> Iterator[Row]:
    """The rows of one step with calls at all times but the last, one, two or three."""
    t, *inner, s = times
    step = integral(process, t, s, form)
    if step is None:
        yield transfer(process, t, s, KEEP[form])
        return
    ways = [finite_integral(process, t, u, form) for u in inner]  # from the start of the step to each inner time
    states = [_through(way, ways[:k]) for k, way in enumerate(ways)]
    if taylor or not ways:
        last = _through(step, ways)
    else:
        last = _midpoint(step, *ways) if len(ways) == 1 else _chord(step, *ways)
    yield from staged(process, times, [*states, last], step.keep)


def _through(step: Integral, ways: Sequence[Integral]) -> list[float]:
    """The polynomial through the calls so far, at the start of the step and at the ends of the ways."""
    return [step.carry, *step.weights([0.0, *(way.h for way in ways)])]


def _midpoint(step: Integral, way: Integral) -> list[float]:
    """The line through both calls, at half the step."""
    mass, part = step.mass, 0.5 * step.h / way.h
    return [step.carry, mass * (1 - part), mass * part]


def _chord(step: Integral, _: Integral, way: Integral) -> list[float]:
    """The line through the first and the last call; with the last at 2/3 of the step, order 3 is kept."""
    now, later = step.weights([0.0, way.h])
    return [step.carry, now, 0.0, later]
