"""Weights of values remembered at nodes: what every Adams and exponential multistep method is made of."""

from functools import lru_cache

import numpy as np


def weights(nodes, start, stop, density=np.ones_like, points=32):
    """w (n,) with sum_j w_j p(nodes_j) = int_start^stop density(u) p(u) du for polynomials p of degree below n.

    By Gauss-Legendre quadrature of the Lagrange basis, in float64: to rounding for smooth densities.  Pass nodes and
    limits relative to the current point (u = lam - lam_t, say), where powers of them do not cancel.
    """
    nodes = np.asarray(nodes, np.float64)
    at, mass = _legendre(points)
    u = start + 0.5 * (stop - start) * (at + 1)
    mass = 0.5 * (stop - start) * mass * density(u)
    return np.array([mass @ _lagrange(nodes, j, u) for j in range(len(nodes))])


def added(a, b):
    """The sum of two vectors of weights, the shorter one filled up with zeros."""
    total = np.zeros(max(len(a), len(b)))
    total[: len(a)] += a
    total[: len(b)] += b
    return total


_legendre = lru_cache(np.polynomial.legendre.leggauss)


def _lagrange(nodes, j, u):
    """The polynomial that is 1 at node j and 0 at the others."""
    others = np.delete(nodes, j)
    return np.prod((u[:, None] - others) / (nodes[j] - others), axis=1)
