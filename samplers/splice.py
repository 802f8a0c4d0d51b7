"""Several samplers on one grid, each on its range of noise levels."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from fewstep.diffusion.ems import EMS
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.tableau import Row

ROUNDING = 1e-9  # of log(sigma / alpha) at a time of the grid


def splice(
    samplers: Sequence[Callable[..., Iterable[Row]]], levels: Sequence[float], process: Process, grid: np.ndarray,
    known: EMS | None = None,
) -> Iterator[Row]:  # fmt: skip
    """The rows of each sampler on its part of the grid: a step belongs to the first sampler if it begins above the
    noise level levels[0] (sigma / alpha), to the second if it begins above levels[1], and so on; levels decrease.

    Every part is the sampler's own table on these times.  A multistep method begins again at its part, because the
    predictions before may be remembered in another form; its first step there is of first order.  known: statistics
    for the parts that need them.  Raises UsageError for a later sampler that does not begin at the state it is given:
    with churn, or with an analytic first step.
    """
    grid = np.asarray(grid, np.float64)
    part = (-process.lam(grid[:-1])[:, None] <= np.log(levels) + ROUNDING).sum(1)
    for i, sampler in enumerate(samplers):
        mine = np.flatnonzero(part == i)
        if not mine.size:
            continue
        statistics = {"known": known} if "ems" in getattr(sampler, "needs", ()) else {}
        rows = list(sampler(process, grid[mine[0] : mine[-1] + 2], **statistics))
        if mine[0] > 0 and (rows[0].t != grid[mine[0]] or rows[0].start is not None):
            raise UsageError(
                f"the sampler below the noise level {levels[i - 1]:g} begins with noise of its own, and not where the "
                f"one before it ends: put it first, or take away its churn or its analytic first step"
            )
        yield from rows
