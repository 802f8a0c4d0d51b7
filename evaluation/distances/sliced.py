"""The sliced Wasserstein distance."""

import numpy as np
from numpy.typing import ArrayLike

from fewstep.evaluation.distances.checks import checked
from fewstep.evaluation.estimate import Estimate, estimate

DIRECTIONS = 256


class SlicedWasserstein:
    """SW: the root mean square of the 1-D Wasserstein-2 distance over fixed random directions (algorithms.md H6).

    The influence of an item on a squared 1-D distance is its Kantorovich potential, whose derivative at x is twice the
    distance that x is transported.
    """

    names = ("SW",)
    least = 2

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None, directions: int = DIRECTIONS):
        self.real = checked(real)
        theta = np.random.default_rng(0).standard_normal((self.real.shape[1], directions))
        self.theta = theta / np.linalg.norm(theta, axis=0)
        self.order, self.sorted = _sorted(self.real @ self.theta)

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {"SW": distance}."""
        order, a = _sorted(checked(drawn, self.real) @ self.theta)
        b, n, m = self.sorted, len(a), len(self.sorted)
        # Both quantile functions are constant between the cuts.
        cuts = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
        widths = np.diff(cuts, prepend=0.0)
        middle = cuts - widths / 2
        gap = a[(middle * n).astype(int)] - b[(middle * m).astype(int)]
        value = np.sqrt((widths @ gap**2).mean())
        slope = 1 / (2 * value) if value else 0.0  # the derivative of the square root
        influences = (_potential(order, a, b).mean(1), _potential(self.order, b, a).mean(1))
        return {"SW": estimate(value, *(slope * influence for influence in influences))}


def _sorted(projections):
    order = np.argsort(projections, axis=0)
    return order, np.take_along_axis(projections, order, axis=0)


def _potential(order, a, b):
    """The potential of each item for transporting sorted a (N, directions) to b (M, directions), in the order of the
    items before sorting."""
    n = len(a)
    target = b[-(-np.arange(1, n) * len(b) // n) - 1]  # of the points between two neighbours
    steps = np.diff(a**2, axis=0) - 2 * np.diff(a, axis=0) * target
    potential = np.empty_like(a)
    np.put_along_axis(potential, order, np.concatenate([np.zeros_like(a[:1]), np.cumsum(steps, axis=0)]), axis=0)
    return potential
