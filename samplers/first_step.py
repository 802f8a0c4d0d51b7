"""The analytical first step: at the highest noise level the prediction is known without a network call."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fewstep.diffusion.arrays import NumberT
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Row


def start(rows: Iterable[Row], process: Process, first: str) -> Iterable[Row]:
    """The rows of a sampler for its option `first`: "network", or "analytic" without the first call."""
    if first not in ("network", "analytic"):
        raise UsageError(f"first is 'network' or 'analytic', not {first!r}")
    return rows if first == "network" else analytical_first_step(rows, process)


def analytical_first_step(rows: Iterable[Row], process: Process) -> Iterator[Row]:
    """The rows without their first call, with eps = x / sqrt(alpha^2 + sigma^2) in its place: one call fewer.

    This is the limit of the prediction as sigma/alpha grows, for data of mean 0 and unit variance, known as AFS (in the
    code of Zhou et al. 2023, arXiv:2312.00094).  x0 follows from it, and is 0 at alpha = 0.

    The state after that row is a multiple of the initial noise, so its deviation becomes Row.start; the prediction that
    the row remembers is a multiple of that state.  Later rows that use this prediction express it by their own state
    and the predictions since, as all is linear.

    Raises NoTable for a single row, UsageError for noise before the last use of that prediction.
    """
    first, *rest = rows
    if not rest:
        raise NoTable("an analytic first step needs two rows or more: with one, no call of one is left")
    _check_deterministic(first)
    known = np.array(guess(process, first.t))
    gain = first.x + known @ [first.x0, first.eps]
    kept = known @ np.asarray(first.keep) / gain  # the remembered prediction, per unit of the state after the row
    std = process.sigma(first.t) if first.start is None else first.start
    share, since = 1.0, np.zeros(0)  # the current state: coefficients of the state after the first row, of predictions
    for i, row in enumerate(rest):
        if len(row.past) > i:  # past[i] is for the first call, later entries are for none
            undone = row.past[i] * kept / share
            row = row._replace(x=row.x + undone, past=tuple(row.past[:i] - undone * since))
        yield row._replace(start=gain * std) if i == 0 else row
        if any(len(later.past) > k for k, later in enumerate(rest) if k > i):
            _check_deterministic(row)
            share, since = _advanced(process, row, share, since)


def guess(process: Process, t: NumberT) -> tuple[NumberT, NumberT]:
    """(x0, eps) per unit of x; x0 = (1 - sigma eps) / alpha, in a form without cancellation."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    size: Any = (alpha**2 + sigma**2) ** 0.5
    return alpha / (size * (size + sigma)), 1 / size


def _advanced(process: Process, row: Row, share: float, since: np.ndarray) -> tuple[float, np.ndarray]:
    """The state after a row, x_new = a share x_1 + (b, a since + past) . (kept, since ...), from x = alpha x0 + sigma
    eps and Row.keep."""
    relations = np.array([[process.alpha(row.t), process.sigma(row.t)], row.keep])
    a, b = np.linalg.solve(relations.T, [row.x0, row.eps])
    a += row.x
    past = np.pad(row.past, (0, len(since) - len(row.past)))
    return a * share, np.array([b, *(a * since + past)])


def _check_deterministic(row: Row) -> None:
    if row.noise or row.spread:
        raise UsageError("an analytic first step requires rows without noise")
