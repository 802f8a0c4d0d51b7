"""Exact moments, stability and order of a table, in float64 without a network or Monte Carlo.

On Gaussian data every prediction is affine in the state, so means and covariances follow a linear recursion.  The order
of convergence is measured with an exact denoiser.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from fewstep.diffusion import oracles
from fewstep.diffusion.denoiser import DenoiserLike
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.tableau import Row, Tableau, tabulate


class Moments(NamedTuple):
    """Mean and variance per element, (d,) each."""

    mean: np.ndarray
    var: np.ndarray


def moments(table: Tableau, process: Process, mean: Any, var: Any, start: Moments | None = None) -> Moments:
    """The exact mean and variance of the table's output on data N(mean, diag(var)), (d,) arrays.

    For data with a full covariance, pass its eigenvalues and the mean in its eigenbasis.  `start` is the distribution
    of the initial state; by default the process's prior (or Tableau.start), which only approximates the marginal at
    t[0].
    """
    mean, var = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(var, np.float64))
    d, size = len(mean), 1 + table.history
    if start is None:
        std = process.sigma(table.t[0]) if np.isnan(table.start) else table.start
        start = Moments(np.zeros(d), np.full(d, std**2))
    center, cov = np.zeros((d, size)), np.zeros((d, size, size))  # of the state (x, M[0], M[1], ...)
    center[:, 0], cov[:, 0, 0] = start
    for move, offset, noise in _affine(table, oracles.gaussian(process, mean, np.sqrt(var)), d):
        center = np.einsum("dij,dj->di", move, center) + offset
        cov = move @ cov @ move.transpose(0, 2, 1)
        cov[:, 0, 0] += noise
    return Moments(center[:, 0], cov[:, 0, 0])


def _affine(table: Tableau, den: DenoiserLike, d: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The rows as (x, M) <- move (x, M) + offset, with the variance of the noise added to x."""
    if (table.stretch != 1).any():
        raise UsageError("the moments of a table with learned variances are not known without the model")
    size, s = 1 + table.history, np.where(np.isnan(table.s), table.t, table.s)
    zero, one = (den(np.full((table.nfe, d), x), table.t, s) for x in (0.0, 1.0))  # affine in x: two values suffice
    var: Any = zero.var
    for i in range(table.nfe):
        x0, eps = ((b[i] - a[i], a[i]) for a, b in ((zero.x0, one.x0), (zero.eps, one.eps)))
        move, offset = np.zeros((d, size, size)), np.zeros((d, size))
        move[:, 0, 0] = table.x[i] + table.x0[i] * x0[0] + table.eps[i] * eps[0]
        offset[:, 0] = table.x0[i] * x0[1] + table.eps[i] * eps[1]
        if size > 1:
            move[:, 0, 1:] = table.past[i]
            move[:, 1, 0] = table.keep[i, 0] * x0[0] + table.keep[i, 1] * eps[0]
            offset[:, 1] = table.keep[i, 0] * x0[1] + table.keep[i, 1] * eps[1]
            move[:, np.arange(2, size), np.arange(1, size - 1)] = 1.0
        yield move, offset, table.noise[i] ** 2 + np.minimum(table.spread[i] ** 2 * var[i], table.cap[i])


def frechet(got: Moments, mean: Any, var: Any) -> float:
    """Squared Frechet distance between the output N(got) and N(mean, var), summed over the elements."""
    return float(np.sum((got.mean - mean) ** 2 + (np.sqrt(got.var) - np.sqrt(var)) ** 2))


class Stability(NamedTuple):
    """The largest amplifications of a small perturbation of the state."""

    row: float  # over one row: max_i |dx_(i+1) / dx_i|
    table: float  # from some row up to the output: max_i |dx_N / dx_i|


def stability(table: Tableau, process: Process, var: Any) -> Stability:
    """The largest amplifications of a perturbation of the state on Gaussian data of variances var (d,), where they do
    not depend on the state.  Only the state is perturbed, not the remembered predictions.

    For the exact flow from t_i to the data it is sqrt(var / (alpha^2 var + sigma^2)); a table far above is unstable.
    """
    var = np.atleast_1d(np.asarray(var, np.float64))
    d, size = len(var), 1 + table.history
    moves = [move for move, _, _ in _affine(table, oracles.gaussian(process, np.zeros(d), np.sqrt(var)), d)]
    rest, table_wide = np.repeat(np.eye(1, size), d, axis=0), []  # dx_N / d(x, M) before the rows still to come
    for move in reversed(moves):
        rest = np.einsum("di,dij->dj", rest, move)
        table_wide.append(np.abs(rest[:, 0]).max())
    return Stability(float(max(np.abs(move[:, 0, 0]).max() for move in moves)), float(max(table_wide)))


def follow(table: Tableau, den: DenoiserLike, x: np.ndarray) -> np.ndarray:
    """The output of a table without noise, run in float64 on the host from the state x (B, ...).

    Raises UsageError for a table with noise.
    """
    if table.noise.any() or table.spread.any():
        raise UsageError("only a table without noise can be followed")
    past = [np.zeros_like(x)] * table.history
    for i in range(table.nfe):
        pred = den(x, table.t[i], None if np.isnan(table.s[i]) else table.s[i])
        new = table.x[i] * x + table.x0[i] * pred.x0 + table.eps[i] * pred.eps
        x = new + sum(c * m for c, m in zip(table.past[i], past, strict=True))
        past = [table.keep[i, 0] * pred.x0 + table.keep[i, 1] * pred.eps, *past][: table.history]
    return x


LAM = (-2.0, 3.0)  # the range over which orders are measured
ROUNDING = 1e-13  # of errors


def graded(steps: int, order: float) -> np.ndarray:
    """Half log-SNRs across LAM with steps of varying size h, about 1/steps of the range; the first is about half
    h^(order/2), and the next ones double up to h.

    A multistep method starts at first order; without short first steps, this error would hide orders above 2.
    """
    h = (LAM[1] - LAM[0]) / steps
    lengths = [0.5 * min(h, h ** (order / 2))]
    while 2 * lengths[-1] < h:
        lengths.append(2 * lengths[-1])
    u = np.concatenate([[0.0], np.cumsum([*lengths, *[h] * steps])])
    u = u / u[-1]
    return LAM[0] + (LAM[1] - LAM[0]) * (u + 0.15 * u * (1 - u))


def order(
    sampler: Callable[..., Iterable[Row]],
    process: Process,
    claimed: float,
    steps: int = 80,
    stochastic: bool = False,
    **options: Any,
) -> float:
    """The measured order of convergence: log2 of the error at `steps` over that at twice as many.

    Deterministic samplers: the largest error of five paths on a two-component mixture, against DOP853 at 1e-12.
    Stochastic ones: the error of the final variance on Gaussian data, by recursion (weak order); inf if there is only
    rounding error.  Raises UsageError for a sampler that sets the deviation of its initial state (an analytic first
    step), because it does not start from the marginal distribution.
    """
    error = _weak_error if stochastic else path_error
    tables = [
        tabulate(sampler(process, np.asarray(process.time(graded(k, claimed))), **options)) for k in (steps, 2 * steps)
    ]
    if not np.isnan(tables[0].start):
        raise UsageError("an analytic first step has no order of convergence: measure it without")
    coarse, fine = (error(table, process) for table in tables)
    return float(np.log2(coarse / fine)) if coarse > ROUNDING else np.inf


def path_error(table: Tableau, process: Process) -> float:
    """The largest distance of five paths of the table over LAM from the exact ones, in standard deviations of x."""
    den, x, want, scale = _paths(process)
    return np.abs(follow(table, den, x) - want).max() / scale


@cache
def _paths(process: Process) -> tuple[oracles.Mixture, np.ndarray, np.ndarray, float]:
    """The exact denoiser of a mixture, five states at the start of LAM, their ends, the scale of x there."""
    den = oracles.mixture(process, [-1.0, 0.8], [0.3, 0.4], [0.4, 0.6])
    times = process.time(np.array(LAM))
    (a0, a1), (s0, s1) = process.alpha(times), process.sigma(times)
    x = np.linspace(-1.5, 1.5, 5)[:, None] * np.hypot(a0, s0)

    def slope(lam: float, y: np.ndarray) -> Any:  # d(x / sigma) / dlam = (alpha / sigma) D, algorithms.md 0.2
        t = float(process.time(np.float64(lam)))
        return np.exp(lam) * den((y * process.sigma(t))[:, None], t).x0[:, 0]

    ends = s1 * solve_ivp(slope, LAM, x[:, 0] / s0, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1:]
    return den, x, ends, np.hypot(a1, s1)


def _weak_error(table: Tableau, process: Process, var: float = 0.25) -> float:
    times = np.array([table.t[0], process.time(np.float64(LAM[1]))])  # with churn the first call is before the grid
    start, end = process.alpha(times) ** 2 * var + process.sigma(times) ** 2
    got = moments(table, process, 0.0, var, start=Moments(np.zeros(1), np.array([start])))
    return abs(float(got.var[0]) - end)
