"""Discrepancies E k(x, x') + E k(y, y') - 2 E k(x, y) of a kernel, without bias."""

import numpy as np

from fewstep.evaluation.distances.checks import ROWS, checked, squared_distances
from fewstep.evaluation.estimate import Estimate, estimate


class Discrepancy:
    """The U-statistic: means over all pairs of different items, so it may be negative.

    Each item's influence is twice its mean kernel with its own set less that with the other.
    """

    least = 2

    def __init__(self, real, seen=None):
        self.real = checked(real)
        self.inner = self._within(self.real)

    def __call__(self, drawn) -> dict[str, Estimate]:
        """drawn (N, d) -> the discrepancy."""
        drawn = checked(drawn, self.real)
        inner, outer, across = self._within(drawn), np.zeros(len(drawn)), np.zeros(len(self.real))
        for first, block in self.kernel(drawn, self.real):
            outer[first : first + len(block)] = block.mean(1)
            across += block.sum(0)
        value = inner.mean() + self.inner.mean() - 2 * outer.mean()
        return {self.names[0]: estimate(value, 2 * (inner - outer), 2 * (self.inner - across / len(drawn)))}

    def _within(self, a):
        """The mean kernel of each item with the others of its set."""
        means = np.zeros(len(a))
        for first, block in self.kernel(a, a):
            rows = np.arange(len(block))
            means[first : first + len(block)] = (block.sum(1) - block[rows, first + rows]) / (len(a) - 1)
        return means


class Kernel(Discrepancy):
    """KID: the kernel (x.y / d + 1)^3 (Binkowski et al. 2018, arXiv:1801.01401), over all pairs; the paper takes the
    mean over random subsets of 1,000, which has the same expectation."""

    names = ("KID",)

    def kernel(self, a, b):
        """Blocks of rows."""
        for first in range(0, len(a), ROWS):
            base = a[first : first + ROWS] @ b.T / a.shape[1] + 1
            yield first, base * base * base


class Energy(Discrepancy):
    """energy: 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely & Rizzo 2013), the kernel -|x - y|."""

    names = ("energy",)

    def kernel(self, a, b):
        """Blocks of rows."""
        for first, squares in squared_distances(a, b):
            yield first, -np.sqrt(squares)
