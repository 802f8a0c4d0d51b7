"""Adams-Bashforth methods in noise form: x / alpha moves along the predicted noise, by eps d(sigma / alpha).

A step is x_s = alpha_s x0 + sigma_s eps + sum_j w_j (eps_j - eps), which is exact for constant noise; methods differ in
the weights w_j of remembered predictions.  A step from alpha = 0 or to sigma = 0 is that of DDIM.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Points, checked
from fewstep.samplers import first_step
from fewstep.samplers.integrals import weights
from fewstep.samplers.runge_kutta import NOISE, level
from fewstep.samplers.stages import staged, transfer
from fewstep.samplers.steps import multistep, steps
from fewstep.samplers.tableau import Row


@checked
def deis(
    process: Process,
    grid: np.ndarray,
    points: Points = 3,
    basis: str = "t",
    lower_final: bool | None = None,
    first: str = "network",
) -> Iterable[Row]:
    """DEIS (Zhang & Chen 2022, arXiv:2204.13902): the polynomial through the last `points` predictions in a variable of
    time, integrated exactly; one call per step, order `points` (published code partly counts from 0).

    basis: "t" (tAB), "rho" (rhoAB: polynomials in sigma / alpha), "lambda" (exponential_ab in noise form).
    `lower_final` as in dpmpp_2m.  first: "network", or "analytic" for no call in the first step (first_step.py).
    """
    if basis not in BASES:
        raise UsageError(f"deis.basis is {', '.join(map(repr, BASES))}, not {basis!r}")
    return first_step.start(_deis(process, grid, points, basis, lower_final), process, first)


def _deis(
    process: Process, grid: np.ndarray, points: int, basis: str, lower_final: bool | None, denoise: bool = True
) -> Iterator[Row]:
    coordinate, slope = BASES[basis]
    for t, s, before in multistep(process, grid, points, lower_final, denoise):
        past = ()
        if before:
            at, *nodes = (coordinate(process, time) for time in (t, *before))
            nodes = np.array([0.0, *(node - at for node in nodes)])

            def density(u: np.ndarray, at: float = at) -> Any:
                return slope(process, at + u)

            past = process.alpha(s) * weights(nodes, 0.0, coordinate(process, s) - at, density)[1:]
        yield transfer(process, t, s, NOISE, past)


@checked
def lms(process: Process, grid: np.ndarray, points: Points = 4, denoise: bool = True) -> Iterator[Row]:
    """k-diffusion's LMS: Adams-Bashforth with the actual steps in sigma / alpha, which is rhoAB; order `points`.

    `denoise`: a step to sigma = 0 returns the predicted clean image.  Without, as published, it is a step like the
    others, which is closer to the exact flow if there are many steps.
    """
    return _deis(process, grid, points, "rho", False, denoise)


@checked
def ipndm_v(process: Process, grid: np.ndarray, points: Points = 4, first: str = "network") -> Iterable[Row]:
    """iPNDM with variable steps, which is rhoAB.  (Published closed forms for 3 points and more misplace a bracket, and
    have order 2 if the step size varies.)  `first` as in deis."""
    return deis(process, grid, points, "rho", lower_final=False, first=first)


@checked
def ipndm(process: Process, grid: np.ndarray, points: Points = 4, first: str = "network") -> Iterable[Row]:
    """iPNDM (Liu et al. 2022, arXiv:2202.09778; Zhang & Chen 2022): the weights of equal steps on any grid.

    Order `points` if steps in sigma / alpha are equal, order 2 on other grids.  One call per step.  `first` as in deis.
    """
    rows = (
        transfer(process, t, s, NOISE, _move(process, t, s) * equal_weights(1 + len(before))[1:] if before else ())
        for t, s, before in multistep(process, grid, points, lower_final=False)
    )
    return first_step.start(rows, process, first)


def plms(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """PLMS, which is PNDM without Runge-Kutta steps: the first step by improved Euler (2 calls), then two, three and
    four points with the weights of equal steps.  Order 2, except on equal steps in sigma / alpha.
    """
    return _pseudo(process, grid, 1, _improved_euler)


def pndm(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """PNDM (Liu et al. 2022, arXiv:2202.09778): three steps by pseudo Runge-Kutta (4 calls each), then four points with
    the weights of equal steps.  Order 2, because the midpoint of a step is in t.
    """
    return _pseudo(process, grid, 3, _pseudo_runge_kutta)


# By basis: the variable of time, and the derivative of sigma / alpha in it.
BASES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "t": (lambda process, t: t, lambda process, t: -process.dlam(t) * level(process, t)),
    "rho": (level, lambda process, at: np.ones_like(at)),
    "lambda": (lambda process, t: process.lam(t), lambda process, lam: -np.exp(-lam)),
}


def equal_weights(points: int) -> np.ndarray:
    """Adams-Bashforth weights of equal steps, newest first."""
    return weights(-np.arange(points), 0.0, 1.0)


def _move(process: Process, t: float, s: float) -> float:
    """alpha_s (sigma_s / alpha_s - sigma_t / alpha_t): how far x_s moves per unit of eps."""
    return -process.sigma(s) * np.expm1(process.lam(s) - process.lam(t))


def _pseudo(
    process: Process, grid: np.ndarray, count: int, start: Callable[[Process, float, float], Iterable[Row]]
) -> Iterator[Row]:
    """`count` steps by `start`, then Adams-Bashforth with the predictions at the first call of each step."""
    rows, begins = 0, []  # number of rows so far, and the first rows of the last steps, newest first
    for t, s in steps(grid):
        finite = process.alpha(t) > 0 and process.sigma(s) > 0
        if finite and s > 0 and len(begins) < count:
            new = list(start(process, t, s))
        else:
            now = [rows, *begins] if finite else [rows]
            past = np.zeros(now[0] - now[-1])
            if finite:
                past[[rows - row - 1 for row in now[1:]]] = _move(process, t, s) * equal_weights(len(now))[1:]
            new = [transfer(process, t, s, NOISE, past)]
        begins = [*([rows] if finite else []), *begins][:3]
        rows += len(new)
        yield from new


def _improved_euler(process: Process, t: float, s: float) -> Iterator[Row]:
    a, g = process.alpha(s) / process.alpha(t), _move(process, t, s)
    return staged(process, (t, s, s), [[a, g], [a, 0.5 * g, 0.5 * g]], NOISE)


def _pseudo_runge_kutta(process: Process, t: float, s: float) -> Iterator[Row]:
    m = 0.5 * (t + s)
    half, whole = ((process.alpha(u) / process.alpha(t), _move(process, t, u)) for u in (m, s))
    states = [
        [half[0], half[1]],
        [half[0], 0.0, half[1]],
        [whole[0], 0.0, 0.0, whole[1]],
        [whole[0], *whole[1] * np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6])],
    ]
    return staged(process, (t, m, m, s, s), states, NOISE)
