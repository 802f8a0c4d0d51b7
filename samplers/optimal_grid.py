"""The optimal trajectory of Analytic-DPM: the times with the best likelihood bound of the chain (Bao et al. 2022,
arXiv:2201.06503; Watson et al. 2021, arXiv:2106.03802)."""

from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np

from fewstep.diffusion.calibrate import Statistics, interpolate
from fewstep.diffusion.posterior import divergence, large, posterior
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.index_grids import End, Steps
from fewstep.samplers.steps import NoTable

VARIANCES = ("analytic", "small", "large")


@checked
def dp(
    process: Process,
    steps: Steps,
    start: Annotated[float, Range(above=0, most=1)] | None = None,
    end: End = None,
    variance: str = "analytic",
    candidates: Annotated[int, Range(2, 4000)] = 300,
    known: Statistics | None = None,
) -> np.ndarray:
    """The optimal path through times evenly spaced in the half log-SNR, with `candidates` intervals, by dynamic
    programming.

    The cost of a step is the KL divergence of DDPM's posterior from the step with the optimal variance, or with one of
    DDPM's variances, for the measured m_t = E[Var(x0 | x_t)]: `known` are `diffusion.calibrate.Statistics`.  The last
    step, to an end beyond the process's finite one, costs the measured code length of 8-bit images with the best
    deviation, and starts at the optimal time.  For other data it starts at the last of the times; with another end, the
    path ends at the last time.

    Raises NoTable for more steps than candidates, UsageError if m is not known.
    """
    if variance not in VARIANCES:
        raise UsageError(f"dp.variance is one of {', '.join(VARIANCES)}, not {variance!r}")
    if known is None:
        raise UsageError("the grid dp needs statistics of a run (known, from diffusion.calibrate or fewstep calibrate)")
    first, finite = process.snr_ends
    first, target = first if start is None else start, process.ends[1] if end is None else end
    last = max(target, finite)
    tail = [target] if target < last else []
    if not np.isfinite(process.lam(np.array([first, last]))).all():
        raise UsageError(f"dp.start: a grid even in log-SNR has finite ends, and alpha is 0 at {first:g}")
    moves = steps - len(tail)
    if moves > candidates:
        raise NoTable(f"the grid dp has no {steps} steps among {candidates}: take fewer")
    if moves == 0:
        return np.array([first, *tail])
    decoder = known.decoder.min(1) if known.decoder.size else []
    measured = tuple(np.asarray(a, np.float64).tobytes() for a in (known.lam, known.residual, decoder))
    found = _paths(process, first, last, candidates, variance, measured, bool(tail), _most(moves))
    return np.concatenate([found.best(moves), tail])


def _most(moves: int) -> int:
    """The next power of two, so that one table of paths is shared by many numbers of steps."""
    return 1 << max(6, int(moves - 1).bit_length())


class _Paths(NamedTuple):
    """The optimal paths from the first time."""

    times: np.ndarray  # (N,)
    costs: list[np.ndarray]  # after 1, 2, ... moves: the cost of arriving at each time, (N,)
    before: list[np.ndarray]  # the index of the previous time, (N,)
    end: np.ndarray  # (N, N) the cost of a last move from one time to another, including what follows

    def best(self, moves: int) -> np.ndarray:
        """The times of the optimal path with this number of moves."""
        start = np.full(len(self.times), np.inf)
        start[0] = 0.0
        total = (self.costs[moves - 2] if moves > 1 else start)[:, None] + self.end
        at = list(np.unravel_index(total.argmin(), total.shape))[::-1]
        for row in reversed(self.before[: moves - 1]):
            at.append(row[at[-1]])
        return self.times[at[::-1]]


@lru_cache(maxsize=16)
def _paths(
    process: Process,
    first: float,
    last: float,
    count: int,
    variance: str,
    known: tuple[bytes, ...],
    to_data: bool,
    most: int,
) -> _Paths:
    low, high = process.lam(np.array([first, last]))
    lam = np.linspace(low, high, count + 1)
    times = np.asarray(process.time(lam), np.float64)
    times[0], times[-1] = first, last
    at, residual, decoder = (np.frombuffer(a) for a in known)
    m = interpolate(lam, at, residual)
    cost = step_costs(process, times, variance, m)
    end = np.where(np.arange(count + 1) == count, cost, np.inf)
    if to_data and decoder.size:
        end = cost + interpolate(lam, at, decoder)
    costs, before = [cost[0]], [np.zeros(count + 1, int)]
    for _ in range(min(most, count) - 1):
        total = costs[-1][:, None] + cost
        before.append(total.argmin(0))
        costs.append(total.min(0))
    return _Paths(times, costs, before, end)


def step_costs(process: Process, times: np.ndarray, variance: str, m: np.ndarray) -> np.ndarray:
    """The cost in nats per dimension of a step from each of decreasing times (N,), with m (N,), to each later one:
    (N, N), inf for others.

    The KL divergence of the posterior from the step with the optimal variance, or another one of VARIANCES.
    """
    t, s, m = times[:, None], times[None, :], np.asarray(m)[:, None]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        moved, inner = posterior(process, t, s)
        var = {"analytic": inner + moved**2 * m, "small": inner, "large": large(process, t, moved, inner)}[variance]
        cost = divergence(moved, inner, var, m)
    return np.where(np.triu(np.ones_like(cost, bool), 1), cost, np.inf)
