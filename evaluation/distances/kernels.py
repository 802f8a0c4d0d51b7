"""Kernel discrepancies E k(x, x') + E k(y, y') - 2 E k(x, y), unbiased."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from fewstep.evaluation.distances.checks import ROWS, checked, squared_distances
from fewstep.evaluation.estimate import Estimate, estimate


class Discrepancy:
    """The U-statistic: means over all pairs of different items, which may be negative.

    The influence of an item is twice the difference of its mean kernels with its own set and with the other set.
    """

    names: tuple[str, ...] = ()
    least = 2

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None):
        self.real = checked(real)
        self.inner = self._within(self.real)

    def kernel(self, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """k(a_i, b_j) in blocks (first row, (n, M))."""
        raise NotImplementedError

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {name: discrepancy}."""
        drawn = checked(drawn, self.real)
        inner, outer, across = self._within(drawn), np.zeros(len(drawn)), np.zeros(len(self.real))
        for first, block in self.kernel(drawn, self.real):
            outer[first : first + len(block)] = block.mean(1)
            across += block.sum(0)
        value = inner.mean() + self.inner.mean() - 2 * outer.mean()
        return {self.names[0]: estimate(value, 2 * (inner - outer), 2 * (self.inner - across / len(drawn)))}

    def _within(self, a):
        """The mean kernel of each item with the other items of its set."""
        means = np.zeros(len(a))
        for first, block in self.kernel(a, a):
            rows = np.arange(len(block))
            means[first : first + len(block)] = (block.sum(1) - block[rows, first + rows]) / (len(a) - 1)
        return means


class Kernel(Discrepancy):
    """KID: the kernel (x.y / d + 1)^3 (Binkowski et al. 2018, arXiv:1801.01401) over all pairs; the paper averages over
    random subsets of 1,000, which has the same expectation."""

    names = ("KID",)

    def kernel(self, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(a), ROWS):
            base = a[first : first + ROWS] @ b.T / a.shape[1] + 1
            yield first, base * base * base


class Energy(Discrepancy):
    """energy: 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely & Rizzo 2013), with the kernel -|x - y|."""

    names = ("energy",)

    def kernel(self, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        for first, squares in squared_distances(a, b):
            yield first, -np.sqrt(squares)
