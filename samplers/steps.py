"""What the samplers share: walking a grid."""

import numpy as np


class NoTable(ValueError):
    """The method has no table of so few steps, or so few network calls."""


def steps(grid):
    """The pairs (t, s) of consecutive times as floats.

    Raises ValueError unless the grid has two times or more, falls strictly, and stays above 0 but for its end (the
    network is never called at t = 0).
    """
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) < 0).all() or not (grid[:-1] > 0).all():
        raise ValueError(f"a grid is two or more strictly decreasing times, all but the last above 0: got {grid}")
    return list(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True))
