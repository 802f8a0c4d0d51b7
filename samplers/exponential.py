"""Exponential multistep integrators in the half log-SNR: one network call per step.

On a step t -> s of length h = lam_s - lam_t the probability-flow ODE is exactly

    data form:   x_s = (sigma_s / sigma_t) x + alpha_s int_0^h e^(u - h) x0(u) du
    noise form:  x_s = (alpha_s / alpha_t) x - sigma_s int_0^h e^(h - u) eps(u) du

with u = lam - lam_t.  Methods differ in the polynomial that approximates x0(u) or eps(u).
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Points, Range, checked
from fewstep.samplers.integrals import weights
from fewstep.samplers.stages import transfer
from fewstep.samplers.steps import multistep
from fewstep.samplers.tableau import Row

Kappa = Annotated[float, Range(0, 10)]
KEEP = {"data": (1.0, 0.0), "noise": (0.0, 1.0)}  # which prediction a form integrates


class Integral(NamedTuple):
    """A step in one of the two forms, x_s = carry x + gain int_0^h e^(rate (h - u)) P(u) du, P remembered as `keep`."""

    h: float
    carry: float
    gain: float
    rate: float
    keep: tuple

    def weights(self, nodes: Sequence[float]) -> np.ndarray:
        """The weights of predictions at the nodes u, exact for the polynomial through them."""
        return self.gain * weights(nodes, 0.0, self.h, self._density)

    @property
    def mass(self) -> float:
        """The weight of a constant prediction."""
        return self.gain * np.expm1(self.rate * self.h) / self.rate

    def _density(self, u: np.ndarray) -> np.ndarray:
        return np.exp(self.rate * (self.h - u))


def integral(process: Process, t: float, s: float, form: str = "data", power: float = 0.0) -> Integral | None:
    """The step t -> s in a form; None if h is infinite (from alpha = 0, to sigma = 0).

    In data form also the step of the reverse SDE with noise of strength tau, power = tau^2 (sde.py).
    """
    if form not in KEEP:
        raise UsageError(f"form is 'data' or 'noise', not {form!r}")
    if process.alpha(t) == 0 or process.sigma(s) == 0:
        return None
    h = process.lam(s) - process.lam(t)
    if form == "data":
        carry = process.sigma(s) / process.sigma(t) * np.exp(-power * h)
        return Integral(h, carry, (1 + power) * process.alpha(s), -1.0 - power, KEEP[form])
    return Integral(h, process.alpha(s) / process.alpha(t), -process.sigma(s), 1.0, KEEP[form])


def finite_integral(process: Process, t: float, s: float, form: str = "data", power: float = 0.0) -> Integral:
    """`integral` of a step that is known to have a finite h."""
    step = integral(process, t, s, form, power)
    assert step is not None
    return step


def dpmpp_2m(process: Process, grid: np.ndarray, lower_final: bool | None = None) -> Iterator[Row]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095): x0(u) = D + (D - D_before) / (2 r), r = h_before / h.

    First order on the first step, after a first step from alpha = 0 (its h is infinite), on a step to sigma = 0, and
    with `lower_final` on the last step (None: for grids of fewer than 15 steps, diffusers' rule).
    """
    for t, s, before in multistep(process, grid, 2, lower_final):
        past = _midpoint(process, t, s, before) if before else ()
        yield transfer(process, t, s, KEEP["data"], past)


@checked
def dpmpp_3m(process: Process, grid: np.ndarray, kappa: Kappa = 2.0, lower_final: bool | None = None) -> Iterator[Row]:
    """DPM-Solver++(3M) (arXiv:2211.01095): x0(u) = the parabola through three predictions.

    Published code has half of its curvature, kappa = 1, and order 2; kappa = 2 has order 3.  The second step is that of
    2M.  `lower_final` as in dpmpp_2m: order 2, then 1 at the end.
    """
    for t, s, before in multistep(process, grid, 3, lower_final):
        if len(before) == 2:
            past = curved(finite_integral(process, t, s), nodes(process, t, (t, *before)), kappa)[1:]
        else:
            past = _midpoint(process, t, s, before) if before else ()
        yield transfer(process, t, s, KEEP["data"], past)


@checked
def exponential_ab(
    process: Process, grid: np.ndarray, points: Points = 3, form: str = "data", lower_final: bool | None = None
) -> Iterator[Row]:
    """Exponential Adams-Bashforth: the polynomial through the last `points` predictions, integrated exactly.

    The order is `points`.  In data form with 3 points it is dpmpp_3m; in noise form it is DEIS with polynomials in lam
    (Zhang & Chen 2022, arXiv:2204.13902).  `lower_final` as in dpmpp_2m.
    """
    for t, s, before in multistep(process, grid, points, lower_final):
        step = integral(process, t, s, form)
        past = step.weights(nodes(process, t, (t, *before)))[1:] if step and before else ()
        yield transfer(process, t, s, KEEP[form], past)


def nodes(process: Process, t: float, times: Sequence[float]) -> list[float]:
    """Times as nodes u = lam - lam_t."""
    return [process.lam(time) - process.lam(t) for time in times]


def curved(step: Integral, at: Sequence[float], kappa: float) -> np.ndarray:
    """Weights of the parabola through three nodes, with kappa / 2 of its curvature."""
    a, b, c = at
    second = 1 / np.array([(a - b) * (a - c), (b - a) * (b - c), (c - a) * (c - b)])  # the divided difference
    whole = step.weights(at)
    return whole - (1 - kappa / 2) * (whole @ np.square(at)) * second


def _midpoint(process: Process, t: float, s: float, before: tuple[float, ...]) -> list[float]:
    """The weight of D_before in D + (D - D_before) h / (2 h_before)."""
    step = finite_integral(process, t, s)
    return [-0.5 * step.mass * step.h / (process.lam(t) - process.lam(before[0]))]
