"""The SDEs of stochastic interpolants, with any diffusion coefficient (Ma et al. 2024, SiT, arXiv:2401.08740)."""

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.brownian import Noise, along
from fewstep.samplers.euler import drift_step, euler, euler_maruyama, heun_step
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row


def constant(process: Process, t: float) -> float:
    """w = 1."""
    return 1.0


def proportional(process: Process, t: float) -> float:
    """w = sigma."""
    return process.sigma(t)


def linear(process: Process, t: float) -> float:
    """w = t."""
    return t


def decreasing(process: Process, t: float) -> float:
    """w = (1 - cos(pi t))^2 / 4: decreases towards the data."""
    return 0.25 * (1 - np.cos(np.pi * t)) ** 2


def increasing_decreasing(process: Process, t: float) -> float:
    """w = sin(pi t)^2."""
    return np.sin(np.pi * t) ** 2


NOISES = {w.__name__: w for w in (constant, proportional, linear, decreasing, increasing_decreasing)}


@checked
def interpolant_sde(
    process: Process,
    grid: np.ndarray,
    w: Callable = proportional,
    scale: Annotated[float, Range(0, 1000)] = 1.0,
    method: str = "euler",
    last: str = "tweedie",
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """dx = (u - scale w score) dt + sqrt(2 scale w) dW for any w(process, t) >= 0 (the paper's w is twice this one).

    method: 'euler' is euler_maruyama; 'heun' adds the noise of a step first and takes Heun's step of the drift from
    there, with 2 calls (also of weak order 1, because w and the network's t are those before the noise).  last: the
    step to the end of the process, without noise; 'tweedie' is the predicted clean image, 'euler' the step of the ODE,
    'mean' the step of the drift, SiT's default, which for w > 0 and a step to sigma = 0 removes more noise than there
    is.  euler.classical requires a grid that starts where alpha > 0.
    """
    if method not in METHODS:
        raise UsageError(f"interpolant_sde.method is {' or '.join(map(repr, METHODS))}, not {method!r}")
    if last not in ("tweedie", "euler", "mean"):
        raise UsageError(f"interpolant_sde.last is 'tweedie', 'euler' or 'mean', not {last!r}")
    t, s = steps(grid)[-1]

    def strength(process: Process, t: float) -> float:
        return scale * w(process, t)

    if s > process.ends[1]:
        yield from METHODS[method](process, grid, strength, noise)
        return
    if len(grid) > 2:
        yield from METHODS[method](process, grid[:-1], strength, noise)
    if last == "tweedie":
        yield Row(t, x0=process.alpha(s))
    elif last == "euler":
        yield from euler(process, grid[-2:])
    else:
        yield drift_step(process, t, s, strength(process, t))


def _heun(process: Process, grid: np.ndarray, w: Callable, noise: Noise) -> Iterator[Row]:
    """Noise, Euler to s, the mean of both slopes.  The noise of a step precedes its call, so it belongs to the previous
    row; the first step has no previous row, so neither noise nor w."""
    for (t, s), after in zip(steps(grid), [*grid[2:], None], strict=True):
        weights = (w(process, t), w(process, s)) if t < grid[0] else (0.0, 0.0)
        first, second = heun_step(process, t, s, *weights)
        yield first
        if after is not None:
            second = second._replace(noise=np.sqrt(2 * w(process, s) * (s - after)), path=along(noise, s, after))
        yield second


METHODS = {"euler": euler_maruyama, "heun": _heun}
