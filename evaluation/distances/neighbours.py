"""What nearest neighbours tell: fidelity and variety apart, and copies of training images."""

import numpy as np

from evaluation.distances.checks import checked, squared_distances
from evaluation.estimate import Estimate, estimate

K = 5  # neighbours


class Neighbours:
    """precision, recall (Kynkaanniemi et al. 2019, arXiv:1904.06991), density, coverage (Naeem et al. 2020,
    arXiv:2002.09797), as the latter compute all four: an item's ball reaches to its K-th neighbour, itself not counted,
    without its surface.

    precision   share of the drawn inside some real ball
    recall      share of the real inside some drawn ball
    density     real balls that a drawn item is in, over K, on average
    coverage    share of real balls that hold a drawn item

    Of the items whose share it is, influences are that share; of the others, what would be lost with an item, its
    neighbours' balls as they are.  As those would grow, that says rather too much (Efron & Stein 1981).
    """

    names = ("precision", "recall", "density", "coverage")
    least = K + 1

    def __init__(self, real, seen=None):
        self.real = checked(real)
        self.reach = _reach(self.real)
        if not self.reach.any():
            raise ValueError(f"every real item coincides with {K} others: there are no balls to be inside of")

    def __call__(self, drawn) -> dict[str, Estimate]:
        """drawn (N, d) -> the four."""
        drawn = checked(drawn, self.real)
        n, m, reach = len(drawn), len(self.real), _reach(drawn)
        held, alone = np.zeros(n), np.zeros(m)  # real balls a drawn item is in; drawn items that are in this one alone
        filled, recalled = _Counts(n, m), _Counts(n, m)  # of each real item: drawn in its ball, drawn balls it is in
        density = np.zeros(m)
        for first, squares in squared_distances(drawn, self.real):
            balls = squares < self.reach
            held[first : first + len(balls)] = balls.sum(1)
            alone += balls[balls.sum(1) == 1].sum(0)
            density += balls.sum(0)
            filled.add(first, balls)
            recalled.add(first, squares < reach[first : first + len(squares), None])
        return {
            "precision": estimate((held > 0).mean(), held > 0, m / n * alone),
            "recall": estimate((recalled.count > 0).mean(), recalled.alone(), recalled.count > 0),
            "density": estimate(held.mean() / K, held / K, m / n * density / K),
            "coverage": estimate((filled.count > 0).mean(), filled.alone(), filled.count > 0),
        }


class _Counts:
    """How many of N drawn items each of M real ones is related to."""

    def __init__(self, n, m):
        self.count, self._sum, self._n = np.zeros(m, int), np.zeros(m, int), n

    def add(self, first, related):
        """A block (B, M) of the relation, from drawn item `first` on."""
        self.count += related.sum(0)
        self._sum += np.arange(first, first + len(related)) @ related

    def alone(self):
        """N/M times the real items that a drawn one is the only one of, (N,)."""
        owners = self._sum[self.count == 1]
        return np.bincount(owners, minlength=self._n) * self._n / len(self.count)


def _reach(a):
    """The squared distance of each item to its K-th neighbour."""
    if len(a) <= K:
        raise ValueError(f"neighbourhoods need more than {K} items: got {len(a)}")
    reach = np.empty(len(a))
    for first, squares in squared_distances(a, a):
        rows = np.arange(len(squares))
        squares[rows, first + rows] = np.inf  # itself
        reach[first : first + len(squares)] = np.partition(squares, K - 1, axis=1)[:, K - 1]
    return reach


class Novelty:
    """novelty: the mean distance to the nearest training item, over that of the held-out ones.

    About 1 where drawn items are new, far below where they are near copies; 0 for copies.
    """

    names = ("novelty",)
    least = 2

    def __init__(self, real, seen):
        self.seen = checked(seen, checked(real))
        self.real = _nearest(checked(real), self.seen)
        if not self.real.any():
            raise ValueError("every held-out item is a training item too: novelty has no measure")

    def __call__(self, drawn) -> dict[str, Estimate]:
        """drawn (N, d) -> the ratio."""
        found = _nearest(checked(drawn, self.seen), self.seen)
        value, unit = found.mean() / self.real.mean(), self.real.mean()
        return {"novelty": estimate(value, found / unit, -value * self.real / unit)}


def _nearest(a, seen):
    """The distance of each to the nearest seen one; of that pair once more, as squares leave copies 1e-8 apart."""
    nearest = np.concatenate([squares.argmin(1) for _, squares in squared_distances(a, seen)])
    return np.linalg.norm(a - seen[nearest], axis=1)
