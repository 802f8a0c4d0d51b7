"""What nearest neighbours tell: fidelity and variety apart, and copies of training images."""

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.evaluation.distances.checks import checked, squared_distances
from fewstep.evaluation.estimate import Estimate, estimate

K = 5  # neighbours


class Neighbours:
    """precision, recall (Kynkaanniemi et al. 2019, arXiv:1904.06991), density, coverage (Naeem et al. 2020,
    arXiv:2002.09797), as the latter compute all four: an item's ball reaches to its K-th neighbour, itself not counted,
    without its surface.

    precision   share of the drawn inside some real ball
    recall      share of the real inside some drawn ball
    density     real balls that a drawn item is in, over K, on average
    coverage    share of real balls that hold a drawn item

    Of the items whose share it is, influences are that share; of the others, what would be lost with an item.  For
    shares its neighbours' balls stay as they are; as those would grow, that says rather too much (Efron & Stein 1981).
    """

    names = ("precision", "recall", "density", "coverage")
    least = K + 1

    def __init__(self, real, seen=None):
        self.real = checked(real)
        self.reach, self.wider, self.nearest = _balls(self.real)
        if self.reach.max() <= 1e-12 * (self.real**2).sum(1).max():  # rounding
            raise UsageError(f"every real item coincides with {K} others: there are no balls to be inside of")

    def __call__(self, drawn) -> dict[str, Estimate]:
        """drawn (N, d) -> the four."""
        drawn = checked(drawn, self.real)
        n, m, reach = len(drawn), len(self.real), _balls(drawn)[0]
        held, alone = np.zeros(n), np.zeros(m)  # real balls a drawn item is in; drawn items that are in this one alone
        filled, recalled = _Counts(n, m), _Counts(n, m)  # of each real item: drawn in its ball, drawn balls it is in
        density, wider = np.zeros(m), np.zeros(m)  # drawn items in each real ball, and in that to the next neighbour
        for first, squares in squared_distances(drawn, self.real):
            balls = squares < self.reach
            held[first : first + len(balls)] = balls.sum(1)
            alone += balls[balls.sum(1) == 1].sum(0)
            density += balls.sum(0)
            wider += (squares < self.wider).sum(0)
            filled.add(first, balls)
            recalled.add(first, squares < reach[first : first + len(squares), None])
        grown = np.bincount(self.nearest.ravel(), np.repeat(wider - density, K), minlength=m)  # without an item
        return {
            "precision": estimate((held > 0).mean(), held > 0, m / n * alone),
            "recall": estimate((recalled.count > 0).mean(), recalled.alone(), recalled.count > 0),
            "density": estimate(held.mean() / K, held / K, m / n * (density - grown) / K),
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


def _balls(a):
    """The squared distances of each item to its K-th neighbour and to the next (N,), and who the K are (N, K)."""
    if len(a) <= K:
        raise UsageError(f"neighbourhoods need more than {K} items: got {len(a)}")
    reach, wider, nearest = np.empty(len(a)), np.full(len(a), np.inf), np.empty((len(a), K), int)
    for first, squares in squared_distances(a, a):
        rows, block = np.arange(len(squares)), slice(first, first + len(squares))
        squares[rows, first + rows] = np.inf  # itself
        order = np.argpartition(squares, (K - 1, K), axis=1)
        nearest[block] = order[:, :K]
        reach[block], wider[block] = squares[rows, order[:, K - 1]], squares[rows, order[:, K]]
    return reach, wider, nearest


class Novelty:
    """novelty: the mean distance to the nearest training item, over that of the held-out ones.

    About 1 where drawn items are new, far below where they are near copies; 0 for copies.  Its interval takes the
    training items as they are.
    """

    names = ("novelty",)
    least = 2

    def __init__(self, real, seen):
        self.seen = checked(seen, checked(real))
        self.real = _nearest(checked(real), self.seen)
        if not self.real.any():
            raise UsageError("every held-out item is a training item too: novelty has no measure")

    def __call__(self, drawn) -> dict[str, Estimate]:
        """drawn (N, d) -> the ratio."""
        found = _nearest(checked(drawn, self.seen), self.seen)
        value, unit = found.mean() / self.real.mean(), self.real.mean()
        return {"novelty": estimate(value, found / unit, -value * self.real / unit)}


def _nearest(a, seen):
    """The distance of each to the nearest seen one; of that pair once more, as squares leave copies 1e-8 apart."""
    nearest = np.concatenate([squares.argmin(1) for _, squares in squared_distances(a, seen)])
    return np.linalg.norm(a - seen[nearest], axis=1)
