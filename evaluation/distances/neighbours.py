"""Metrics of nearest neighbours: fidelity, diversity, and copies of training images."""

import numpy as np
from numpy.typing import ArrayLike

from fewstep.errors import UsageError
from fewstep.evaluation.distances.checks import checked, squared_distances
from fewstep.evaluation.estimate import Estimate, estimate

K = 5  # neighbours


class Neighbours:
    """precision, recall (Kynkaanniemi et al. 2019, arXiv:1904.06991), density, coverage (Naeem et al. 2020,
    arXiv:2002.09797), all four computed as in the latter paper: the ball of an item is open, and its radius is the
    distance to the K-th neighbour, excluding the item itself.

    precision   fraction of drawn items inside a real ball
    recall      fraction of real items inside a drawn ball
    density     mean number of real balls that contain a drawn item, divided by K
    coverage    fraction of real balls that contain a drawn item

    The influences of the items that are averaged are their terms; those of the other set are the losses when an item is
    removed.  For the fractions the balls of its neighbours are kept, although they would grow, so the loss is somewhat
    overestimated (Efron & Stein 1981).
    """

    names = ("precision", "recall", "density", "coverage")
    least = K + 1

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None):
        self.real = checked(real)
        self.reach, self.wider, self.nearest = _balls(self.real)
        if self.reach.max() <= 1e-12 * (self.real**2).sum(1).max():  # up to rounding
            raise UsageError(f"every real item coincides with {K} others: the neighbourhoods are empty")

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> the four metrics."""
        drawn = checked(drawn, self.real)
        n, m, reach = len(drawn), len(self.real), _balls(drawn)[0]
        # Per drawn item: real balls that contain it.  Per real ball: drawn items that are in no other ball.
        held, alone = np.zeros(n), np.zeros(m)
        # Per real item: drawn items in its ball, and drawn balls that contain it.
        filled, recalled = _Counts(n, m), _Counts(n, m)
        # Per real item: drawn items in its ball, and in the ball to the next neighbour.
        density, wider = np.zeros(m), np.zeros(m)
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
    """For each of M real items, the number of N drawn items related to it."""

    def __init__(self, n, m):
        self.count, self._sum, self._n = np.zeros(m, int), np.zeros(m, int), n

    def add(self, first, related):
        """Add a block (B, M) of the relation, which starts at drawn item `first`."""
        self.count += related.sum(0)
        self._sum += np.arange(first, first + len(related)) @ related

    def alone(self):
        """For each drawn item, the number of real items related to it alone, times N/M; (N,)."""
        owners = self._sum[self.count == 1]
        return np.bincount(owners, minlength=self._n) * self._n / len(self.count)


def _balls(a):
    """Squared distances of each item to its K-th and next neighbour (N,), and the indices of its neighbours (N, K)."""
    if len(a) <= K:
        raise UsageError(f"neighbourhoods need more than {K} items: got {len(a)}")
    reach, wider, nearest = np.empty(len(a)), np.full(len(a), np.inf), np.empty((len(a), K), int)
    for first, squares in squared_distances(a, a):
        rows, block = np.arange(len(squares)), slice(first, first + len(squares))
        squares[rows, first + rows] = np.inf  # exclude the item itself
        order = np.argpartition(squares, (K - 1, K), axis=1)
        nearest[block] = order[:, :K]
        reach[block], wider[block] = squares[rows, order[:, K - 1]], squares[rows, order[:, K]]
    return reach, wider, nearest


class Novelty:
    """novelty: the mean distance of drawn items to the nearest training item, divided by that of held-out items.

    It is about 1 for new items, far below 1 for near copies, and 0 for copies.  Its interval treats the training items
    as fixed.
    """

    names = ("novelty",)
    least = 2

    def __init__(self, real: ArrayLike, training: ArrayLike):
        self.training = checked(training, checked(real))
        self.real = _nearest(checked(real), self.training)
        if not self.real.any():
            raise UsageError("every held-out item is also a training item: novelty is undefined")

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {"novelty": ratio}."""
        found = _nearest(checked(drawn, self.training), self.training)
        value, unit = found.mean() / self.real.mean(), self.real.mean()
        return {"novelty": estimate(value, found / unit, -value * self.real / unit)}


def _nearest(a, training):
    """The distance of each item to the nearest training item, recomputed from the pair: the expanded square would give
    copies a distance of 1e-8."""
    nearest = np.concatenate([squares.argmin(1) for _, squares in squared_distances(a, training)])
    return np.linalg.norm(a - training[nearest], axis=1)
