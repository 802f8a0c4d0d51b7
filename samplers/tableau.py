"""A sampler as a table of coefficients: one row per network call, in float64, on the host."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError


class Row(NamedTuple):
    """One network call at (x, t), and the state after it:

        x   <- x*X + x0*X0 + eps*E + sum_j past[j] M[j] + sd Z
        sd^2 = noise^2 stretch^(2 f) + min(spread^2 Var, cap)              (f = Pred.range, Var = Pred.var)
        M   <- (keep[0] x0 + keep[1] eps, M[0], M[1], ...)                 (pushed after x is updated)

    M[0] is what the previous row kept.  Noise before a call (churn, restart) belongs to the previous row, and before
    row 0 to `start`.
    """

    t: float  # time of the network call
    s: float | None = None  # target time of a jump; None = the instant
    x: float = 0.0  # coefficient of the current state
    x0: float = 0.0  # ... of the predicted clean image
    eps: float = 0.0  # ... of the predicted noise
    past: tuple[float, ...] = ()  # ... of remembered predictions, newest first
    noise: float = 0.0  # standard deviation of fresh noise
    spread: float = 0.0  # derivative of the mean in x0: scales Var[x0|x_t] into the step's variance
    cap: float = np.inf  # upper bound of the scaled variance
    stretch: float = 1.0  # sigma_t / sigma_s where the variance is a learned range, else 1
    keep: tuple[float, ...] = (1.0, 0.0)  # coefficients (of x0, of eps) of the remembered prediction
    path: tuple[float, ...] = ()  # (from, to): Z is this increment of the image's Brownian path; () = fresh noise
    start: float | None = None  # first row only: standard deviation of the initial state; None = the prior's at t


class Tableau(NamedTuple):
    """The rows of a sampler as float64 columns.  NFE is the number of rows, `len(table.t)`.

    `s` is NaN at the instant, `path` is NaN for fresh noise; `start` is the standard deviation of the initial state,
    NaN for the process's prior at t[0].
    """

    t: np.ndarray  # (N,)
    s: np.ndarray  # (N,)
    x: np.ndarray  # (N,)
    x0: np.ndarray  # (N,)
    eps: np.ndarray  # (N,)
    past: np.ndarray  # (N, H)
    noise: np.ndarray  # (N,)
    spread: np.ndarray  # (N,)
    cap: np.ndarray  # (N,)
    stretch: np.ndarray  # (N,)
    keep: np.ndarray  # (N, 2)
    path: np.ndarray  # (N, 2)
    start: np.ndarray | np.float64  # ()

    @property
    def nfe(self) -> int:
        """Network calls per image: the number of rows."""
        return len(self.t)

    @property
    def history(self) -> int:
        """The number of remembered predictions."""
        return self.past.shape[1]


def tabulate(rows: Iterable[Row], start: float | None = None) -> Tableau:
    """The rows of a sampler as a table; `start` overrides that of the first row.

    Raises UsageError for no rows and for coefficients that are not finite (a grid that starts where a coefficient of
    the sampler is infinite, or that repeats a time).
    """
    rows = list(rows)
    if not rows:
        raise UsageError("a table needs at least one row")
    history = max(len(row.past) for row in rows)
    start = rows[0].start if start is None else start

    def column(name: str) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows], np.float64)

    table = Tableau(
        t=column("t"),
        s=np.array([np.nan if row.s is None else row.s for row in rows], np.float64),
        x=column("x"),
        x0=column("x0"),
        eps=column("eps"),
        past=np.array([(*row.past, *(0.0,) * (history - len(row.past))) for row in rows], np.float64).reshape(
            len(rows), history
        ),
        noise=column("noise"),
        spread=column("spread"),
        cap=column("cap"),
        stretch=column("stretch"),
        keep=np.array([row.keep for row in rows], np.float64),
        path=np.array([row.path or (np.nan, np.nan) for row in rows], np.float64),
        start=np.float64(np.nan if start is None else start),
    )
    for name in ("t", "x", "x0", "eps", "past", "noise", "spread", "stretch", "keep"):
        broken = ~np.isfinite(getattr(table, name)).reshape(len(rows), -1).all(1)
        if broken.any():
            row = int(np.argmax(broken))
            raise UsageError(
                f"row {row} (t = {table.t[row]:g}) has a coefficient `{name}` that is not finite: {rows[row]}"
            )
    return table


def pad(table: Tableau, rows: int, history: int) -> Tableau:
    """The table with unused rows and unused memory appended, so that different samplers share one compilation."""
    more, deeper = rows - table.nfe, history - table.history

    def fill(a: Any) -> Any:
        if a.ndim == 0:
            return a
        return np.concatenate([a, np.repeat(a[-1:], more, axis=0)])

    return Tableau(*map(fill, table._replace(past=np.pad(table.past, ((0, 0), (0, deeper))))))


class Expansion(NamedTuple):
    """The state after each row by the inputs: x_i = start[i] x + sum_j (x0[i, j] D_j + noise[i, j] Z_j)."""

    t: np.ndarray  # (N,) time of each D_j
    s: np.ndarray  # (N,) target time of its jump; NaN at the instant
    start: np.ndarray  # (N,)
    x0: np.ndarray  # (N, N)
    noise: np.ndarray  # (N, N)
    spread: np.ndarray  # (N, N) weights of the rows' prediction-dependent noise


def reduced(table: Tableau, process: Process) -> Expansion:
    """A table with eps eliminated by x = alpha x0 + sigma eps, and memory unrolled.

    Two tables produce the same states if and only if their reductions are equal, however they write their rows; cap,
    stretch and the deviation of the initial state have a unique form, and are not part of it.
    """
    n = table.nfe
    alpha, sigma = process.alpha(table.t), process.sigma(table.t)
    unit = np.eye(1 + 3 * n)  # basis: the initial state, then every D, every Z, every Z scaled by spread
    x, memory, states = unit[0], [np.zeros(1 + 3 * n)] * (table.history + 1), []
    for i in range(n):
        x0 = unit[1 + i]
        eps = (x - alpha[i] * x0) / sigma[i]
        new = table.x[i] * x + table.x0[i] * x0 + table.eps[i] * eps
        new = new + sum(c * m for c, m in zip(table.past[i], memory, strict=False))
        x = new + table.noise[i] * unit[1 + n + i] + table.spread[i] * unit[1 + 2 * n + i]
        memory = [table.keep[i, 0] * x0 + table.keep[i, 1] * eps, *memory[:-1]]
        states.append(x)
    states = np.stack(states)
    return Expansion(table.t, table.s, states[:, 0], *(states[:, 1 + k * n : 1 + (k + 1) * n] for k in range(3)))
