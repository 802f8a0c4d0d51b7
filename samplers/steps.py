"""What the samplers share: walking a grid, alone or with what earlier steps remember."""

import numpy as np

from fewstep.diffusion.errors import UsageError


class NoTable(UsageError):
    """The method has no table of so few steps or network calls, or the grid not so many steps."""


def steps(grid):
    """The pairs (t, s) of consecutive times as floats.

    Raises UsageError unless the grid has two times or more, falls strictly, and stays above 0 but for its end (the
    network is never called at t = 0).
    """
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) < 0).all() or not (grid[:-1] > 0).all():
        raise UsageError(f"a grid is two or more strictly decreasing times, all but the last above 0: got {grid}")
    return _pairs(grid)


def ascending(grid):
    """The pairs (t, s), t < s, of consecutive times of a walk from data to noise; UsageError unless they rise from
    above 0."""
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all() or not grid[0] > 0:
        raise UsageError(f"a way up is two or more strictly increasing times above 0: got {grid}")
    return _pairs(grid)


def _pairs(grid):
    return list(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True))


def multistep(process, grid, points, lower_final: bool | None = None, denoise=True):
    """The triples (t, s, before) of a method that uses up to `points` predictions a step: those at t and at `before`,
    the times of the steps before it, newest first.

    There are fewer where the method starts; none where the step begins at alpha = 0 or ends at sigma = 0 (there the
    half log-SNR is infinite, as a node it is never used), the latter unless `denoise` is off, for methods in sigma /
    alpha; and with `lower_final` one more than there are steps to go (None: on grids of fewer than 15 steps, diffusers'
    rule).
    """
    if points != int(points) or points < 1:
        raise UsageError(f"points is a whole number, at least 1: got {points}")
    pairs = steps(grid)
    lower = len(pairs) < 15 if lower_final is None else lower_final
    before = ()
    for i, (t, s) in enumerate(pairs):
        order = min(points, len(pairs) - i) if lower else points
        infinite = process.alpha(t) == 0 or (denoise and process.sigma(s) == 0)
        yield t, s, () if infinite else before[: order - 1]
        before = () if process.alpha(t) == 0 else (t, *before[: points - 2])
