"""The analytical first step: where the noise hides the data, the network need not be asked for it."""

from collections.abc import Iterable, Iterator

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.process import Process
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Row


def start(rows: Iterable[Row], process: Process, first: str) -> Iterable[Row]:
    """The rows of a sampler by its option `first`: "network", or "analytic" without the first call."""
    if first not in ("network", "analytic"):
        raise UsageError(f"first is 'network' or 'analytic', not {first!r}")
    return rows if first == "network" else analytical_first_step(rows, process)


def analytical_first_step(rows: Iterable[Row], process: Process) -> Iterator[Row]:
    """The rows without their first call, in which eps is taken to be x / sqrt(alpha^2 + sigma^2): one call fewer.

    That is the limit of what is predicted for data of mean 0 and unit variance as sigma/alpha grows, known as AFS (in
    the code of Zhou et al. 2023, arXiv:2312.00094); x0 follows from it, and is 0 from alpha = 0.

    The state after that row is a multiple of the initial noise, so it becomes Row.start, and what the row remembered is
    a multiple of that state.  Rows that look back to it find that state in their own, as all is linear: the predictions
    since are undone.

    Raises NoTable for a single row, UsageError where there is noise in between.
    """
    first, *rest = rows
    if not rest:
        raise NoTable("an analytic first step leaves no call of one")
    _check_deterministic(first)
    guess = _guess(process, first.t)  # (x0, eps) per unit of x
    gain = first.x + guess @ [first.x0, first.eps]
    kept = guess @ first.keep / gain  # what is remembered, per unit of the state after the row
    std = process.sigma(first.t) if first.start is None else first.start
    share, since = 1.0, np.zeros(0)  # the state now, in terms of the state after the first row and of predictions since
    for i, row in enumerate(rest):
        if len(row.past) > i:  # past[i] is of the first call, what comes after it of none
            undone = row.past[i] * kept / share
            row = row._replace(x=row.x + undone, past=tuple(row.past[:i] - undone * since))
        yield row._replace(start=gain * std) if i == 0 else row
        if any(len(later.past) > k for k, later in enumerate(rest) if k > i):
            _check_deterministic(row)
            share, since = _advanced(process, row, share, since)


def _guess(process: Process, t: float) -> np.ndarray:
    """(x0, eps) per unit of x; x0 = (1 - sigma eps) / alpha, without its cancellation."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    size = np.hypot(alpha, sigma)
    return np.array([alpha / (size * (size + sigma)), 1 / size])


def _advanced(process: Process, row: Row, share: float, since: np.ndarray) -> tuple[float, np.ndarray]:
    """The state after a row, x_new = a share x_1 + (b, a since + past) . (kept, since ...), by x = alpha x0 + sigma eps
    and what is kept of both."""
    relations = np.array([[process.alpha(row.t), process.sigma(row.t)], row.keep])
    a, b = np.linalg.solve(relations.T, [row.x0, row.eps])
    a += row.x
    past = np.pad(row.past, (0, len(since) - len(row.past)))
    return a * share, np.array([b, *(a * since + past)])


def _check_deterministic(row: Row) -> None:
    if row.noise or row.spread:
        raise UsageError("an analytic first step is for rows without noise")
