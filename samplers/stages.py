"""Steps of several network calls, as rows: Runge-Kutta methods and singlestep exponential integrators."""

import numpy as np

from fewstep.samplers.tableau import Row


def staged(process, times, states, keep):
    """The rows of one step that calls the network at times[0], times[1], ... and ends at times[-1].

    states[k] are the coefficients of the state after call k in the step's beginning x and the remembered predictions
    of calls 0 to k, (x, P_0, ..., P_k); the first is the DDIM state.  A row only has the state before it, so x is taken
    from there: that is linear too, and what was remembered undoes the rest.  `keep` says which prediction that is.
    """
    yield transfer(process, *times[:2], keep)
    for k in range(1, len(states)):
        before, state = (np.asarray(states[i], np.float64) for i in (k - 1, k))
        past = state[1 : k + 1] - state[0] / before[0] * before[1:]
        yield transfer(process, times[k], times[k + 1], keep, past[::-1])


def transfer(process, t, s, keep, past=()):
    """The step t -> s with these weights of remembered predictions, newest first: the weight of the new one, x written
    as alpha_t x0 + sigma_t eps, follows from constant predictions being kept, x_s = alpha_s x0 + sigma_s eps.

    Without `past` it is DDIM's.  Written so, nothing grows with alpha_s / alpha_t to cancel afterwards.
    """
    rest = sum(past)
    x0, eps = process.alpha(s) - keep[0] * rest, process.sigma(s) - keep[1] * rest
    return Row(t, x0=x0, eps=eps, past=tuple(past), keep=keep)
