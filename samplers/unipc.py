"""UniPC (Zhao et al. 2023, arXiv:2302.04867): a predictor, and a corrector without additional network calls."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.exponential import KEEP, Integral, integral, nodes
from fewstep.samplers.integrals import added
from fewstep.samplers.stages import transfer
from fewstep.samplers.steps import multistep
from fewstep.samplers.tableau import Row


@checked
def unipc(
    process: Process,
    grid: np.ndarray,
    order: Annotated[int, Range(1, 3)] = 2,
    b: str = "bh2",
    corrector: bool = True,
    form: str = "data",
    lower_final: bool | None = None,
) -> Iterator[Row]:
    """UniPC of order p = 1, 2 or 3: each state is predicted from p predictions and, after the network call there,
    corrected with p + 1 of them.  One call per step, at the predicted state; the last state is not corrected.

    The conditions of the paper (its B(h) cancels in them) give exponential Adams-Bashforth and Adams-Moulton weights.
    B matters only in the two cases with rho = 1/2 in the paper: the predictor of p = 2 and the corrector of p = 1.
    There B / 2 is h / 2 ("bh1") or |expm1| / 2 ("bh2").  The order of convergence is p + 1, without the corrector
    (UniP) p.
    `lower_final` uses order 2, then 1 at the end (None: on grids of fewer than 15 steps).
    """
    if b not in ("bh1", "bh2"):
        raise UsageError(f"unipc.b is 'bh1' or 'bh2', not {b!r}")
    correction = np.zeros(1)  # of the state before the row: weights of the prediction there and of previous ones
    for t, s, before in multistep(process, grid, order, lower_final):
        step = integral(process, t, s, form)
        if not step:
            yield transfer(process, t, s, KEEP[form])
            continue
        times = nodes(process, t, (t, *before))
        predicted = _predictor(step, times, b)
        yield transfer(process, t, s, step.keep, added(predicted, step.carry * correction)[1:])
        if corrector:
            correction = added(_corrector(step, times, b), [0.0, *-predicted])


def _predictor(step: Integral, times: list[float], b: str) -> np.ndarray:
    """Weights of the predictions at the times, starting with the start of the step."""
    if len(times) == 2:
        lean = _half(step, b) / (times[1] / step.h)
        return np.array([step.mass - lean, lean])
    return step.weights(times)


def _corrector(step: Integral, times: list[float], b: str) -> np.ndarray:
    """Weights of the predictions at the end of the step and at the times."""
    if len(times) == 1:
        return np.array([_half(step, b), step.mass - _half(step, b)])
    return step.weights([step.h, *times])


def _half(step: Integral, b: str) -> float:
    """Half of B(h)."""
    return 0.5 * (step.gain * step.h if b == "bh1" else step.mass)
