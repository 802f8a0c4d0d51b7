"""Steps of several network calls, as rows: Runge-Kutta methods and singlestep exponential integrators."""

from collections.abc import Iterator, Sequence

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.samplers.tableau import Row


def staged(
    process: Process, times: Sequence[float], states: Sequence[Sequence[float]], keep: tuple[float, float]
) -> Iterator[Row]:
    """The rows of one step that calls the network at times[0], times[1], ... and ends at times[-1].

    states[k] are the coefficients of the state after call k in the initial x of the step and the remembered predictions
    of calls 0 to k, (x, P_0, ..., P_k); the first is the DDIM state.  A row has access only to the previous state, so x
    is expressed by that state and the remembered predictions, which is linear too.  `keep` selects the prediction.
    """
    yield transfer(process, times[0], times[1], keep)
    for k in range(1, len(states)):
        before, state = (np.asarray(states[i], np.float64) for i in (k - 1, k))
        past = state[1 : k + 1] - state[0] / before[0] * before[1:]
        yield transfer(process, times[k], times[k + 1], keep, past[::-1])


def transfer(
    process: Process, t: float, s: float, keep: tuple[float, float], past: Sequence[float] | np.ndarray = ()
) -> Row:
    """The step t -> s with these weights of remembered predictions, newest first.  With x = alpha_t x0 + sigma_t eps,
    the weight of the new prediction follows from exactness for constant ones, x_s = alpha_s x0 + sigma_s eps.

    Without `past` it is DDIM's step.  In this form no terms grow with alpha_s / alpha_t only to cancel.
    """
    rest = sum(past)
    x0, eps = process.alpha(s) - keep[0] * rest, process.sigma(s) - keep[1] * rest
    return Row(t, x0=x0, eps=eps, past=tuple(past), keep=keep)
