"""The free numbers of a table without noise.

A method of N calls at times t_0 > ... > t_{N-1}, with the end t_N, that is linear in its predictions D_j and follows a
constant prediction exactly is

    x_{i+1} = (sigma_{i+1} / sigma_i) x_i + (alpha_{i+1} - alpha_i sigma_{i+1} / sigma_i) sum_{j <= i} w_ij D_j,
    sum_j w_ij = 1.

This includes every multistep method, exponential or not, and what Runge-Kutta methods become on distinct times (BNS,
Shaul et al. 2024, arXiv:2403.01329).  Free are N - 1 times and the N (N - 1) / 2 weights of earlier predictions; that
of the newest follows from the sum.  Times are kept as the first half log-SNR and the logarithms of its increments, so
that they decrease for all values.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.arrays import namespace
from fewstep.diffusion.process import Process
from fewstep.samplers.tableau import Tableau, reduced


class Numbers(NamedTuple):
    """Free numbers, NumPy or JAX arrays; the ends of the grid are not among them."""

    first: Any  # () half log-SNR at t_1
    gaps: Any  # (N - 2,) logarithms of its increments at t_2, ..., t_{N-1}
    weights: Any  # (N, N - 1) w_{i, i-1-k} in column k < i, newest first; the rest is not used


class Ends(NamedTuple):
    """The first and the last time of a grid, which stay."""

    first: float
    last: float


def inner_times(process: Process, numbers: Numbers) -> Any:
    """t_1, ..., t_{N-1}, of the kind of the numbers."""
    xp = jnp if isinstance(numbers.first, Array) else np
    lam = numbers.first + xp.concatenate([xp.zeros(1), xp.cumsum(xp.exp(numbers.gaps))])
    return process.time(lam)


def times(process: Process, ends: Ends, numbers: Numbers) -> Any:
    """t_0, ..., t_N.  A table of one call has no inner times."""
    if numbers.weights.shape[1] == 0:
        return np.array(ends, np.float64)
    inner = inner_times(process, numbers)
    xp = namespace(inner)
    return xp.concatenate([xp.full(1, ends.first), inner, xp.full(1, ends.last)])


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
    lam = process.lam(at[1:-1])
    first = lam[0] if n > 1 else np.float64(0)
    return Ends(*map(float, (at[0], last))), Numbers(first, np.log(np.diff(lam)), newest_first)


def placed(process: Process, at: np.ndarray, weights: np.ndarray) -> tuple[Ends, Numbers]:
    """The numbers of times (N + 1,), from the first to the end, and weights (N, N - 1)."""
    lam = process.lam(np.asarray(at[1:-1], np.float64))
    first = lam[0] if len(lam) else np.float64(0)
    return Ends(float(at[0]), float(at[-1])), Numbers(first, np.log(np.diff(lam)), weights)
