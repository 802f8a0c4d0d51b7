"""Steps of several network calls, as rows: Runge-Kutta methods and singlestep exponential integrators."""

import numpy as np

from samplers.tableau import Row


def staged(process, times, states, keep):
    """The rows of one step that calls the network at times[0], times[1], ... and ends at times[-1].

    states[k] are the coefficients of the state after call k in the step's beginning x and the remembered predictions
    of calls 0 to k, (x, P_0, ..., P_k); the first is the DDIM state.  A row only has the state before it, so x is taken
    from there: that is linear too, and what was remembered undoes the rest.  `keep` says which prediction that is.
    """
    yield transfer(process, *times[:2], keep)
    for k in range(1, len(states)):
        before, state = (np.asarray(states[i], np.float64) for i in (k - 1, k))
        back = state[0] / before[0]
        remembered = state[1 : k + 1] - back * before[1:]
        now = state[k + 1]
        yield Row(times[k], x=back, x0=now * keep[0], eps=now * keep[1], past=tuple(remembered[::-1]), keep=keep)


def transfer(process, t, s, keep):
    """The first-order step, exact for a constant prediction: x_s = alpha_s x0 + sigma_s eps."""
    return Row(t, x0=process.alpha(s), eps=process.sigma(s), keep=keep)
