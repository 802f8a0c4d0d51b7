"""Validation of features, and pairwise distances."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from fewstep.errors import UsageError

ROWS = 1024  # rows of a pairwise matrix that are computed at once


def checked(features: ArrayLike, like: np.ndarray | None = None) -> np.ndarray:
    """Finite float64 features (N, d) with N >= 2 and the same d as `like`; raises UsageError otherwise."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise UsageError(f"a distance needs features (N, d) with N of at least 2: got shape {features.shape}")
    if not np.isfinite(features).all():
        raise UsageError("a distance needs finite features: there are NaN or infinite values")
    if like is not None and features.shape[1] != like.shape[1]:
        raise UsageError(
            f"the two sets have {features.shape[1]} and {like.shape[1]} features: the numbers must be equal"
        )
    return features


def squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """|a_i - b_j|^2 of (N, d) and (M, d), in blocks (first row, (n, M)).

    The items are centered first, to avoid cancellation.
    """
    center = b.mean(0)
    a, b = a - center, b - center
    squares = (b**2).sum(1)
    for first in range(0, len(a), ROWS):
        block = a[first : first + ROWS]
        yield first, np.maximum((block**2).sum(1)[:, None] + squares - 2 * block @ b.T, 0.0)
