"""The free numbers of a table without noise.

A method of N calls at times t_0 > ... > t_{N-1}, with the end t_N, that is linear in its predictions D_j and follows a
constant prediction exactly is

    x_{i+1} = (sigma_{i+1} / sigma_i) x_i + (alpha_{i+1} - alpha_i sigma_{i+1} / sigma_i) sum_{j <= i} w_ij D_j,
    sum_j w_ij = 1.

This includes every multistep method, exponential or not, and what Runge-Kutta methods become on distinct times (BNS,
Shaul et al. 2024, arXiv:2403.01329).  Free are N - 1 times and the N (N - 1) / 2 weights of earlier predictions; that
of the newest follows from the sum.  Times are kept as shares of the way from the first to the last in the angle
arctan(sigma / alpha), which is finite for every process, and shares as the softmax of numbers: times decrease from end
to end for all values.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.arrays import namespace
from fewstep.diffusion.process import Process
from fewstep.samplers.tableau import Tableau, reduced


class Numbers(NamedTuple):
    """Free numbers, NumPy or JAX arrays; the ends of the grid are not among them."""

    shares: Any  # (N,) whose softmax is the share of each step in the angle
    weights: Any  # (N, N - 1) w_{i, i-1-k} in column k < i, newest first; the rest is not used


class Ends(NamedTuple):
    """The first and the last time of a grid, which stay."""

    first: float
    last: float


def angle(process: Process, t: Any) -> Any:
    """arctan(sigma / alpha), from 0 at the data to at most pi / 2."""
    return namespace(t).arctan2(process.sigma(t), process.alpha(t))


def times(process: Process, ends: Ends, numbers: Numbers) -> Any:
    """t_0, ..., t_N, of the kind of the numbers."""
    first, last = (float(angle(process, np.float64(t))) for t in ends)
    if isinstance(numbers.shares, Array):
        xp, shares = jnp, jax.nn.softmax(numbers.shares)
    else:
        xp, shares = np, np.exp(numbers.shares - np.max(numbers.shares))
        shares = shares / shares.sum()
    inner = first + (last - first) * xp.cumsum(shares)[:-1]
    return xp.concatenate([xp.full(1, ends.first), process.time(-xp.log(xp.tan(inner))), xp.full(1, ends.last)])


def step(process: Process, t: Any, s: Any) -> tuple[Any, Any]:
    """The coefficients of the state and of a constant prediction on steps t -> s."""
    ratio = process.sigma(s) / process.sigma(t)
    return ratio, process.alpha(s) - process.alpha(t) * ratio


def table(process: Process, ends: Ends, numbers: Numbers) -> Tableau:
    """The table of the numbers: float64 on the host, or traced."""
    at = times(process, ends, numbers)
    xp = namespace(at)
    ratio, gain = step(process, at[:-1], at[1:])
    n = len(at) - 1
    earlier = xp.asarray(np.tri(n, n - 1, -1)) * numbers.weights
    zero, nan = np.zeros(n), np.full(n, np.nan)
    return Tableau(
        t=at[:-1], s=nan, x=ratio, x0=gain * (1 - earlier.sum(1)), eps=zero, past=gain[:, None] * earlier, noise=zero,
        spread=zero, cap=np.full(n, np.inf), stretch=np.ones(n), keep=np.tile([1.0, 0.0], (n, 1)),
        path=np.full((n, 2), np.nan), start=np.float64(np.nan),
    )  # fmt: skip


def numbers_of(process: Process, found: Tableau, last: float) -> tuple[Ends, Numbers] | None:
    """The numbers of a table that ends at the time `last`; None if it is not of this form: with noise, jumps, a time
    twice, or another path for a constant prediction."""
    at = np.append(found.t, last)
    plain = np.isnan(found.s).all() and np.isnan(found.start) and not (found.noise.any() or found.spread.any())
    if not plain or not (np.diff(at) < 0).all():
        return None
    ratio, gain = step(process, at[:-1], at[1:])
    after = reduced(found, process)
    n = found.nfe
    before = np.vstack([np.zeros(n), after.x0[:-1]])
    weights = (after.x0 - ratio[:, None] * before) / gain[:, None]
    if not (np.allclose(weights.sum(1), 1) and np.allclose(after.start, np.cumprod(ratio))):
        return None
    newest_first = np.zeros((n, n - 1))
    for i in range(n):
        newest_first[i, :i] = weights[i, :i][::-1]
    return placed(process, at, newest_first)


def placed(process: Process, at: np.ndarray, weights: np.ndarray) -> tuple[Ends, Numbers]:
    """The numbers of times (N + 1,), from the first to the end, and weights (N, N - 1)."""
    at = np.asarray(at, np.float64)
    return Ends(float(at[0]), float(at[-1])), Numbers(np.log(-np.diff(angle(process, at))), weights)


def packed(numbers: Numbers) -> np.ndarray:
    """The numbers that matter as a vector, (N (N + 1) / 2 - 1,): the shares but the first, relative to it, as a common
    factor cancels, then the weights, row by row."""
    n = len(numbers.shares)
    return np.concatenate([numbers.shares[1:] - numbers.shares[0], np.asarray(numbers.weights)[np.tril_indices(n, -1)]])


def unpacked(vector: Any, n: int) -> Numbers:
    """The inverse of `packed` for N calls, of the kind of the vector."""
    xp = namespace(vector)
    rows, columns = np.tril_indices(n, -1)
    place = np.zeros((n, n - 1), int)
    place[rows, columns] = np.arange(len(rows))
    weights = xp.where(np.tri(n, n - 1, -1) > 0, vector[n - 1 :][place], 0.0) if n > 1 else xp.zeros((1, 0))
    return Numbers(xp.concatenate([xp.zeros(1), vector[: n - 1]]), weights)
