"""Euler's and Heun's methods in t on the probability-flow ODE, and Euler-Maruyama on the reverse SDE."""

from collections.abc import Callable, Iterator

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.ranges import checked
from fewstep.samplers.brownian import Noise, along
from fewstep.samplers.steps import NoTable, steps
from fewstep.samplers.tableau import Row


def euler(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """x_s = x + (s - t) u with u = alpha' x0 + sigma' eps.  Equal to DDIM if alpha and sigma are affine in t."""
    for t, s in steps(grid):
        yield _to_data(process, t, s) or drift_step(process, t, s)


def heun(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """Euler to s, then the mean of both slopes: 2 calls per step, 1 if the step ends at sigma = 0 or t = 0.

    The second row undoes the first linearly (the slope is remembered), so no extra state is carried.  On VE this is
    EDM's deterministic sampler (arXiv:2206.00364 algorithm 1).  Raises NoTable for a grid on which no step has a second
    call, which would be Euler's method.
    """
    pairs = steps(grid)
    if not any(_has_slope(process, s) for _, s in pairs):
        raise NoTable("heun takes two calls per step and one for a step to the data, so at least 3 here")
    for t, s in pairs:
        if not _has_slope(process, s):
            yield _to_data(process, t, s) or drift_step(process, t, s)
            continue
        yield from heun_step(process, t, s)


def noise_growth(process: Process, t: float) -> float:
    """w = d(sigma^2)/dt / 2: fresh noise equals the decrease of the noise variance of x_t.  Finite everywhere; equal to
    `classical` if alpha is constant, and to SiT's w = sigma on the linear path (Ma et al. 2024, arXiv:2401.08740).
    """
    return process.sigma(t) * process.dsigma(t)


def classical(process: Process, t: float) -> float:
    """w = g^2 / 2 = -sigma^2 dlam/dt, the reverse SDE of Song et al. 2021; infinite where alpha = 0."""
    return -(process.sigma(t) ** 2) * process.dlam(t)


SDE_NOISES = {"noise_growth": noise_growth, "classical": classical}


@checked
def euler_maruyama(
    process: Process, grid: np.ndarray, w: Callable = noise_growth, noise: Noise = "fresh"
) -> Iterator[Row]:
    """x_s = x + (s - t)(u - w score) + sqrt(2 w (t - s)) z, with score = -eps / sigma.

    Any w(process, t) >= 0 keeps the marginals (arXiv:2401.08740).  w = `classical` is Song et al. 2021
    (arXiv:2011.13456), and requires a grid that starts where alpha > 0.  A step to the end of the process adds no
    noise, as published.
    """
    for t, s in steps(grid):
        row = _to_data(process, t, s)
        if row is None:
            weight = w(process, t)
            added = np.sqrt(2 * weight * (t - s)) if s > process.ends[1] else 0.0
            row = drift_step(process, t, s, weight)._replace(noise=added, path=along(noise, t, s))
        yield row


def _has_slope(process: Process, s: float) -> bool:
    return s > 0 and process.sigma(s) > 0


def _drift(process: Process, t: float, w: float = 0.0) -> tuple[float, float]:
    """The coefficients of (x0, eps) in u - w score."""
    return float(process.dalpha(t)), float(process.dsigma(t) + w / process.sigma(t))


def drift_step(process: Process, t: float, s: float, w: float = 0.0) -> Row:
    """Euler's step along u - w score."""
    a, b = _drift(process, t, w)
    return Row(t, x=1.0, x0=(s - t) * a, eps=(s - t) * b)


def heun_step(process: Process, t: float, s: float, before: float = 0.0, after: float = 0.0) -> Iterator[Row]:
    """The rows of Heun's step along u - w score, with w at t and at s."""
    first, second, half = _drift(process, t, before), _drift(process, s, after), 0.5 * (s - t)
    yield drift_step(process, t, s, before)._replace(keep=first)
    yield Row(s, x=1.0, x0=half * second[0], eps=half * second[1], past=(-half,))


def _to_data(process: Process, t: float, s: float) -> Row | None:
    """The row of a step to sigma = 0, which returns the predicted clean image; None for other steps."""
    return Row(t, x0=process.alpha(s)) if process.sigma(s) == 0 else None
