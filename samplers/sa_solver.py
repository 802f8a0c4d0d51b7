"""SA-Solver: stochastic Adams methods in the half log-SNR (Xue et al. 2023, arXiv:2309.05019)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Points, Range, checked
from fewstep.samplers.brownian import Noise
from fewstep.samplers.exponential import Integral, integral, nodes
from fewstep.samplers.integrals import added
from fewstep.samplers.sde import constant
from fewstep.samplers.steps import multistep
from fewstep.samplers.tableau import Row


def middle(process: Process, t: float) -> float:
    """tau = 1 for 0.2 <= t <= 0.8, as published, else 0; if alpha is constant, 1 for 0.05 <= sigma <= 1, else 0."""
    if process.dalpha(t) == 0:
        return float(0.05 <= process.sigma(t) <= 1)
    return float(0.2 <= t <= 0.8)


TAUS = {"middle": middle}


@checked
def sa_solver(
    process: Process,
    grid: np.ndarray,
    predictor: Points = 3,
    corrector: Annotated[int, Range(0, 10)] = 4,
    tau: Annotated[float, Range(0, 10)] | Callable = middle,
    few_steps: bool = True,
    slope: str = "exact",
    lower_final: bool | None = None,
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """x_s = (sigma_s/sigma_t) e^(-tau^2 h) x + sum_j w_j D_j + sigma_s sqrt(1 - e^(-2 tau^2 h)) z, with exact moments
    w_j = (1 + tau^2) alpha_s int_0^h e^((1 + tau^2)(u - h)) l_j(u) du (eq. 15 and 18, u from the current half log-SNR).

    l_j interpolates the predictions at `predictor` times, t the newest.  After the network call at s, the step is
    repeated with `corrector` times, s the newest, from the same state with the same z (0: no corrector).  Only the
    weights of the predictions change, so the next row adds their differences, at no additional call.  tau is a number
    or tau(process, t), constant over a step; 0 is the ODE and 1 the reverse SDE.  With `few_steps` it is 0 on the last
    step.  First order on the first step, on a step from alpha = 0 or to sigma = 0; with `lower_final` the order
    decreases towards the end (None: on grids of fewer than 15 steps).

    slope = "published" uses h^2 / 2 for int e^((1 + tau^2)(u - h)) u du with two times, as published code does: of the
    same order, but not exact for a linear prediction.
    """
    if slope not in ("exact", "published"):
        raise UsageError(f"sa_solver.slope is 'exact' or 'published', not {slope!r}")
    owed = np.zeros(1)  # changes by the corrector in the weights of (D at t, previous D, ...), applied in the next row
    for t, s, before in multistep(process, grid, max(predictor, corrector - 1), lower_final):
        power = 0.0 if few_steps and s == grid[-1] else (tau(process, t) if callable(tau) else tau) ** 2
        row, step, times = constant(process, t, s, power, noise), integral(process, t, s, power=power), (t, *before)
        predicted = np.array([row.x0])
        if before and step:
            predicted = _weights(step, nodes(process, t, times[:predictor]), slope)
        now = added(predicted, row.x * owed)
        yield row._replace(x0=now[0], past=tuple(now[1:]))
        owed = np.zeros(1)
        if corrector and step:
            corrected = _weights(step, nodes(process, t, (s, *times)[:corrector]), slope)
            owed = added(corrected, [0.0, *-predicted])


def _weights(step: Integral, at: Sequence[float], slope: str) -> np.ndarray:
    """The weights of predictions at these nodes."""
    found = step.weights(at)
    if slope == "published" and len(at) == 2:
        missing = 0.5 * step.gain * step.h**2 - found @ at
        found = found + missing / (at[0] - at[1]) * np.array([1.0, -1.0])
    return found
