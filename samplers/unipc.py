"""UniPC (Zhao et al. 2023, arXiv:2302.04867): a predictor, and a corrector that costs no network call."""

from collections.abc import Iterator

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.process import Process
from fewstep.samplers.exponential import KEEP, Integral, integral, nodes
from fewstep.samplers.integrals import added
from fewstep.samplers.stages import transfer
from fewstep.samplers.steps import multistep
from fewstep.samplers.tableau import Row


def unipc(
    process: Process,
    grid: np.ndarray,
    order: int = 2,
    b: str = "bh2",
    corrector: bool = True,
    form: str = "data",
    lower_final: bool | None = None,
) -> Iterator[Row]:
    """UniPC of an order p = 1, 2 or 3: each state is predicted from p predictions, and once the network has been called
    there, corrected with p + 1 of them.  Called once a step, at the predicted state; the last one is not corrected.

    The conditions of the paper (its B(h) cancels in them) make exponential Adams-Bashforth and Adams-Moulton weights.
    B matters in the two cases where the paper takes rho = 1/2 instead: the predictor of p = 2 and the corrector of
    p = 1; there B / 2 is h / 2 ("bh1") or |expm1| / 2 ("bh2").  Order p + 1, without the corrector (UniP) p.
    `lower_final` takes order 2, then 1 at the end (None: on grids of fewer than 15 steps).
    """
    if b not in ("bh1", "bh2"):
        raise UsageError(f"unipc.b is 'bh1' or 'bh2', not {b!r}")
    if order not in (1, 2, 3):
        raise UsageError(f"unipc.order is 1, 2 or 3, not {order!r}")
    correction = np.zeros(1)  # of the state that the row finds: weights of the prediction there and of those before
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
    """Weights of the predictions at the times, that of the step's beginning first."""
    if len(times) == 2:
        lean = _half(step, b) / (times[1] / step.h)
        return np.array([step.mass - lean, lean])
    return step.weights(times)


def _corrector(step: Integral, times: list[float], b: str) -> np.ndarray:
    """The same with the prediction at the step's end before them."""
    if len(times) == 1:
        return np.array([_half(step, b), step.mass - _half(step, b)])
    return step.weights([step.h, *times])


def _half(step: Integral, b: str) -> float:
    """Half of B(h)."""
    return 0.5 * (step.gain * step.h if b == "bh1" else step.mass)
