"""Restart sampling (Xu et al. 2023, arXiv:2306.14878)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range, checked
from fewstep.samplers.churn import NoiseScale, zigzag
from fewstep.samplers.grids import karras
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

Times = Annotated[int, Range(0, 1000)]


@checked
def restart(
    process: Process,
    grid: np.ndarray,
    intervals: tuple[tuple[Times, Times, Positive, Positive], ...] = ((0, 1, 0.1, 1.0),),
    s_noise: NoiseScale = 1.0,
) -> Iterator[Row]:
    """Heun's method in sigma/alpha, which returns from `low` to `high`, `repeats` times, for each of the intervals
    (steps, repeats, low, high) in sigma/alpha: all noise from low to high is added at once, then Heun's method takes
    `steps` steps of a karras grid down again.  Noise that turns the variance c^2 + low^2 into c^2 + high^2 keeps the
    marginals, and contracts earlier errors.

    low is rounded to the nearest time inside the grid, also for the noise; an interval is left out if its high is not
    above that, or is above the start of the grid.  steps = 0 is the number of steps of the grid from high to low (the
    published N_r counts points: steps + 1).  The default uses this: it is available at low NFE, is exact in the limit
    of many steps, and costs a second pass through one interval, around the scale of the data, on every process.  The
    paper tunes lists of intervals to a data set.  s_noise as in edm; the published code defaults to 0, no noise.

    Calls as in edm without churn, plus those of the repeated steps.
    """
    pairs, base = [], steps(grid)
    landing = [_plan(process, grid, interval) for interval in intervals]
    for t, s in base:
        pairs.append((t, s))
        for low, again in landing:
            if low == s:
                pairs += again
    return zigzag(process, pairs, s_noise)


def _plan(
    process: Process, grid: np.ndarray, interval: tuple[int, int, float, float]
) -> tuple[float, list[tuple[float, float]]]:
    """(the time of the grid at which an interval restarts, the additional steps (t, s))."""
    count, repeats, low, high = interval
    top = float(process.time(-np.log(high)))
    if not (low < high and top <= process.ends[0]):
        raise UsageError(f"a restart goes from low > 0 to a higher high within the process: got {interval}")
    grid = np.asarray(grid, np.float64)
    bottom = min(grid[1:-1].tolist(), key=lambda t: abs(process.lam(t) + np.log(low)), default=top)
    if not bottom < top <= grid[0]:
        return bottom, []
    count = count or 1 + int(((grid > bottom) & (grid < top)).sum())
    return bottom, repeats * list(pairwise(karras(process, count, top, bottom).tolist()))
