"""Quadrature weights of values at nodes, for Adams and exponential multistep methods."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np


def weights(
    nodes: Sequence[float] | np.ndarray,
    start: float,
    stop: float,
    density: Callable[[np.ndarray], Any] = np.ones_like,
    points: int = 32,
) -> np.ndarray:
    """w (n,) with sum_j w_j p(nodes_j) = int_start^stop density(u) p(u) du for polynomials p of degree below n.

    By Gauss-Legendre quadrature of the Lagrange basis, in float64: exact to rounding for smooth densities.  Pass nodes
    and limits relative to the current point (such as u = lam - lam_t), where their powers do not cancel.
    """
    nodes = np.asarray(nodes, np.float64)
    at, mass = _legendre(points)
    u = start + 0.5 * (stop - start) * (at + 1)
    mass = 0.5 * (stop - start) * mass * density(u)
    return np.array([mass @ _lagrange(nodes, j, u) for j in range(len(nodes))])


def added(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> np.ndarray:
    """The sum of two vectors of weights, the shorter one padded with zeros."""
    total = np.zeros(max(len(a), len(b)))
    total[: len(a)] += a
    total[: len(b)] += b
    return total


_legendre = lru_cache(np.polynomial.legendre.leggauss)


def _lagrange(nodes: Sequence[float] | np.ndarray, j: int, u: np.ndarray) -> np.ndarray:
    """The polynomial that is 1 at node j and 0 at the others."""
    others = np.delete(nodes, j)
    return np.prod((u[:, None] - others) / (nodes[j] - others), axis=1)
