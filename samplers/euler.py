"""Euler's and Heun's methods in t on the probability-flow ODE, and Euler-Maruyama on the reverse SDE."""

import numpy as np

from fewstep.samplers.steps import NoTable, steps
from fewstep.samplers.tableau import Row


def euler(process, grid):
    """x_s = x + (s - t) u with u = alpha' x0 + sigma' eps.  DDIM exactly where alpha and sigma are affine in t."""
    for t, s in steps(grid):
        yield _to_data(process, t, s) or drift_step(process, t, s)


def heun(process, grid):
    """Euler to s, then the mean of both slopes: 2 calls a step, 1 where the step ends at sigma = 0 or t = 0.

    The second row undoes the first linearly (the slope is remembered), so no extra state is carried.  On VE this is
    EDM's deterministic sampler (arXiv:2206.00364 algorithm 1).  Raises NoTable for a grid on which no step at all
    would have its second call: that would be Euler's method.
    """
    pairs = steps(grid)
    if not any(_has_slope(process, s) for _, s in pairs):
        raise NoTable("heun takes two calls a step and one for a step to the data, so 3 are the fewest here")
    for t, s in pairs:
        if not _has_slope(process, s):
            yield _to_data(process, t, s) or drift_step(process, t, s)
            continue
        yield from heun_step(process, t, s)


def noise_growth(process, t):
    """w = d(sigma^2)/dt / 2: as much fresh noise as the noise of x_t loses.  Finite everywhere; `classical` where alpha
    is constant, and SiT's w = sigma on the linear path (Ma et al. 2024, arXiv:2401.08740).
    """
    return process.sigma(t) * process.dsigma(t)


def classical(process, t):
    """w = g^2 / 2 = -sigma^2 dlam/dt, the reverse SDE of Song et al. 2021; infinite where alpha = 0."""
    return -(process.sigma(t) ** 2) * process.dlam(t)


SDE_NOISES = {"noise_growth": noise_growth, "classical": classical}


def euler_maruyama(process, grid, w=noise_growth):
    """x_s = x + (s - t)(u - w score) + sqrt(2 w (t - s)) z, with score = -eps / sigma.

    Any w(process, t) >= 0 keeps the marginals (arXiv:2401.08740); w = `classical` is Song et al. 2021
    (arXiv:2011.13456): start the grid where alpha > 0.  A step to the end of the process adds no noise, as published.
    """
    for t, s in steps(grid):
        row = _to_data(process, t, s)
        if row is None:
            weight = w(process, t)
            noise = np.sqrt(2 * weight * (t - s)) if s > process.ends[1] else 0.0
            row = drift_step(process, t, s, weight)._replace(noise=noise, path=(t, s))
        yield row


def _has_slope(process, s):
    return s > 0 and process.sigma(s) > 0


def _drift(process, t, w=0.0):
    """The coefficients of (x0, eps) in u - w score."""
    return float(process.dalpha(t)), float(process.dsigma(t) + w / process.sigma(t))


def drift_step(process, t, s, w=0.0):
    """Euler's step along u - w score."""
    a, b = _drift(process, t, w)
    return Row(t, x=1.0, x0=(s - t) * a, eps=(s - t) * b)


def heun_step(process, t, s, before=0.0, after=0.0):
    """The rows of Heun's step along u - w score, with w at t and at s."""
    first, second, half = _drift(process, t, before), _drift(process, s, after), 0.5 * (s - t)
    yield drift_step(process, t, s, before)._replace(keep=first)
    yield Row(s, x=1.0, x0=half * second[0], eps=half * second[1], past=(-half,))


def _to_data(process, t, s):
    """A step to sigma = 0 is the predicted clean image itself; None where the step is an ordinary one."""
    return Row(t, x0=process.alpha(s)) if process.sigma(s) == 0 else None
