"""Iteration over the steps of a grid, for one-step and multistep samplers."""

from collections.abc import Iterator

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError


class NoTable(UsageError):
    """The sampler has no table with so few steps or network calls, or the grid does not have so many steps."""


def steps(grid: np.ndarray) -> list[tuple[float, float]]:
    """The pairs (t, s) of consecutive times as floats.

    Raises UsageError unless the grid has two or more strictly decreasing times in [0, 1]; all but the last are then
    above 0, where the network is never called.
    """
    grid = _within(grid)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) < 0).all():
        raise UsageError(f"a grid is two or more strictly decreasing times: got {grid}")
    return _pairs(grid)


def ascending(grid: np.ndarray) -> list[tuple[float, float]]:
    """The pairs (t, s), t < s, of consecutive times from data to noise.

    Raises UsageError unless they are strictly increasing, above 0 and at most 1.
    """
    grid = _within(grid)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all() or not grid[0] > 0:
        raise UsageError(f"an inversion needs two or more strictly increasing times above 0: got {grid}")
    return _pairs(grid)


def _within(grid: np.ndarray) -> np.ndarray:
    """The grid in float64; UsageError for times outside [0, 1], such as indices."""
    grid = np.asarray(grid, np.float64)
    if outside := [float(t) for t in grid.ravel() if not 0 <= t <= 1]:
        raise UsageError(
            f"times are between 0 (data) and 1 (noise): got {outside[0]:g}. Index n of N, as of a Discrete process, is "
            f"the time n / N"
        )
    return grid


def _pairs(grid: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True))


def multistep(
    process: Process, grid: np.ndarray, points: int, lower_final: bool | None = None, denoise: bool = True
) -> Iterator[tuple[float, float, tuple[float, ...]]]:
    """The triples (t, s, before) of a method that uses up to `points` predictions per step: those at t and at `before`,
    the times of previous steps, newest first.

    `before` is shorter on the first steps.  It is empty on a step from alpha = 0 or to sigma = 0, where the half
    log-SNR is infinite and cannot be a node; without `denoise`, for methods in sigma / alpha, only on a step from
    alpha = 0.  With `lower_final` the number of points is at most the number of remaining steps (None: on grids of
    fewer than 15 steps that end at the data, diffusers' rule).
    """
    pairs = steps(grid)
    few = len(pairs) < 15 and pairs[-1][1] <= process.snr_ends[1]
    lower = few if lower_final is None else lower_final
    before = ()
    for i, (t, s) in enumerate(pairs):
        order = min(points, len(pairs) - i) if lower else points
        infinite = process.alpha(t) == 0 or (denoise and process.sigma(s) == 0)
        yield t, s, () if infinite else before[: order - 1]
        before = () if process.alpha(t) == 0 else (t, *before[: points - 2])
