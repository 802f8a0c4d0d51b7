"""Runge-Kutta methods in sigma / alpha: x / alpha moves along the predicted noise, by eps d(sigma / alpha).

A step from alpha = 0, to sigma = 0 or to t = 0 is that of DDIM, one call.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.ranges import Range, checked
from fewstep.samplers import first_step
from fewstep.samplers.stages import staged, transfer
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

NOISE = (0.0, 1.0)  # Row.keep: the prediction that is remembered is eps

Method = tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]

# The fractions of the step at which later calls are, and the weights of the previous calls for each stage and the end.
HEUN = (1.0,), ((1.0,), (0.5, 0.5))
KUTTA = (0.5, 1.0), ((0.5,), (-1, 2), (1 / 6, 2 / 3, 1 / 6))
CLASSICAL = (0.5, 0.5, 1.0), ((0.5,), (0, 0.5), (0, 0, 1), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


@checked
def rho_rk2(
    process: Process,
    grid: np.ndarray,
    node: Annotated[float, Range(above=0, most=1)] = 1.0,
    first: str = "network",
) -> Iterable[Row]:
    """Second-order Runge-Kutta methods with the second call at the fraction `node` of the step: 1 is Heun's method (on
    VE `heun`), 1/2 the midpoint method (Karras et al. 2022, arXiv:2206.00364).  2 calls per step, order 2.

    first: "network", or "analytic" for no call in the first step (first_step.py).
    """
    last = 1 / (2 * node)
    return first_step.start(_every(process, grid, ((node,), ((node,), (1 - last, last)))), process, first)


def rho_rk3(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """Kutta's third-order method (DEIS's rhoRK, arXiv:2204.13902): 3 calls per step, order 3."""
    return _every(process, grid, KUTTA)


def rho_rk4(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """The classical fourth-order method: 4 calls per step, order 4."""
    return _every(process, grid, CLASSICAL)


def step(process: Process, t: float, s: float, method: Method) -> list[Row]:
    """The rows of one step of an explicit Runge-Kutta method."""
    if process.alpha(t) == 0 or process.sigma(s) == 0 or s <= 0:
        return [transfer(process, t, s, NOISE)]
    fractions, weights = method
    length = level(process, s) - level(process, t)
    inner = [_between(process, t, s, fraction) for fraction in fractions]
    states = [
        [process.alpha(u) / process.alpha(t), *(process.alpha(u) * length * w for w in along)]
        for u, along in zip((*inner, s), weights, strict=True)
    ]
    return list(staged(process, (t, *inner, s), states, NOISE))


def level(process: Process, t: float) -> float:
    """sigma / alpha."""
    return process.sigma(t) / process.alpha(t)


def _every(process: Process, grid: np.ndarray, method: Method) -> Iterator[Row]:
    for t, s in steps(grid):
        yield from step(process, t, s, method)


def _between(process: Process, t: float, s: float, fraction: float) -> float:
    """The time at which sigma / alpha is at this fraction between its values at t and s."""
    if fraction == 1:
        return s
    return float(process.time(-np.log((1 - fraction) * level(process, t) + fraction * level(process, s))))
