"""Distances by optimal transport along directions: the sliced Wasserstein distance, and MIND."""

import numpy as np
from numpy.typing import ArrayLike

from fewstep.evaluation.distances.checks import checked
from fewstep.evaluation.estimate import Estimate, estimate

DIRECTIONS = 256  # of SW, and those of which the transport is computed at once
LEAST = 1024  # directions of MIND


class Sliced:
    """The mean over fixed directions of the squared 1-D Wasserstein-2 distance.

    The influence of an item on a squared 1-D distance is its Kantorovich potential, whose derivative at x is twice the
    distance that x is transported.
    """

    names: tuple[str, ...] = ()
    least = 2

    def __init__(self, real: ArrayLike, theta: np.ndarray):
        """real (M, d); theta (d, directions): columns of length 1."""
        self.real, self.directions = checked(real), theta.shape[1]
        parts = [theta[:, first : first + DIRECTIONS] for first in range(0, self.directions, DIRECTIONS)]
        self.parts = [(part, *_sorted(self.real @ part)) for part in parts]

    def squared(self, drawn: ArrayLike) -> tuple[float, np.ndarray, np.ndarray]:
        """drawn (N, d) -> the mean, and the influences of the drawn (N,) and of the real items (M,)."""
        drawn, found = checked(drawn, self.real), []
        n, m = len(drawn), len(self.real)
        # Both quantile functions are constant between the cuts.
        cuts = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
        widths = np.diff(cuts, prepend=0.0)
        middle = cuts - widths / 2
        for theta, real_order, b in self.parts:
            order, a = _sorted(drawn @ theta)
            gap = a[(middle * n).astype(int)] - b[(middle * m).astype(int)]
            potentials = _potential(order, a, b).sum(1), _potential(real_order, b, a).sum(1)
            found.append(((widths @ gap**2).sum(), *potentials))
        value, of_drawn, of_real = (sum(parts) / self.directions for parts in zip(*found, strict=True))
        return float(value), of_drawn, of_real


class SlicedWasserstein(Sliced):
    """SW: the root mean square of the 1-D Wasserstein-2 distance over fixed random directions (algorithms.md H6)."""

    names = ("SW",)

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None, directions: int = DIRECTIONS):
        d = checked(real).shape[1]
        theta = np.random.default_rng(0).standard_normal((d, directions))
        super().__init__(real, theta / np.linalg.norm(theta, axis=0))

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {"SW": distance}."""
        squared, *influences = self.squared(drawn)
        value = np.sqrt(squared)
        slope = 1 / (2 * value) if value else 0.0  # the derivative of the square root
        return {"SW": estimate(value, *(slope * influence for influence in influences))}


class Mind(Sliced):
    """mind: d times the mean squared 1-D Wasserstein-2 distance of d features over fixed directions (Berthet et al.
    2026, arXiv:2605.06797: the Monge Inception Distance, on Inception features).

    With the factor d it is, like FD, the squared length of a shift: exactly up to d = LEAST, where the directions are
    those of random orthonormal bases.  It is also FD for Gaussians with covariances s^2 I.  It compares whole
    distributions, where FD compares two moments.
    """

    names = ("mind",)

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None):
        rng, d = np.random.default_rng(0), checked(real).shape[1]
        bases = np.linalg.qr(rng.standard_normal((-(-LEAST // d), d, min(d, LEAST))))[0]
        self.dimension = d
        super().__init__(real, np.hstack([*bases]))

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {"mind": distance}."""
        squared, *influences = self.squared(drawn)
        scaled = (self.dimension * influence for influence in influences)
        return {"mind": estimate(self.dimension * squared, *scaled)}


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
