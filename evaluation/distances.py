"""Distances between two sets of features (N, d) and (M, d), in float64, with bootstrap intervals."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri


class Interval(NamedTuple):
    """A value with a confidence interval."""

    value: float
    low: float
    high: float


class Gaussian(NamedTuple):
    """What `frechet` knows of a set: mean (d,) and a root R (r, d) with R^T R the covariance over n - 1."""

    mean: np.ndarray
    root: np.ndarray


def _checked(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for features in (a, b):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a distance needs features (N, d) with N of at least 2: got shape {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("a distance needs finite features: there are NaN or infinite ones")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the two sets have {a.shape[1]} and {b.shape[1]} features: they must be of one kind")
    return a, b


def frechet(a, b) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b) - 2 tr (S_a S_b)^(1/2), covariances over n - 1 (Heusel et al. 2017).

    tr (S_a S_b)^(1/2) is the sum of the singular values of A^T B for any roots S = A A^T; with the centred features
    themselves as roots that is exact for fewer samples than features too.
    """
    return between(*map(gaussian, _checked(a, b)))


def gaussian(features) -> Gaussian:
    """The part of `frechet` that takes one set, for a set that is compared with many."""
    mean = features.mean(0)
    centred = (features - mean) / np.sqrt(len(features) - 1)
    if len(centred) > centred.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        centred = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return Gaussian(mean, centred)


def between(a: Gaussian, b: Gaussian) -> float:
    """The other part."""
    mean, a, b = a.mean - b.mean, a.root, b.root
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(mean @ mean + (a**2).sum() + (b**2).sum() - 2 * cross, 0.0))


def sliced_wasserstein(a, b, directions=64, seed=0) -> float:
    """The root of the mean squared 1-D Wasserstein-2 distance over fixed random directions (algorithms.md H6)."""
    a, b = _checked(a, b)
    theta = np.random.default_rng(seed).standard_normal((a.shape[1], directions))
    theta /= np.linalg.norm(theta, axis=0)
    a, b = np.sort(a @ theta, axis=0), np.sort(b @ theta, axis=0)
    # Both quantile functions are constant between the union of their jumps.
    cuts = np.union1d(np.arange(1, len(a) + 1) / len(a), np.arange(1, len(b) + 1) / len(b))
    widths = np.diff(cuts, prepend=0.0)
    middle = cuts - widths / 2
    gap = a[(middle * len(a)).astype(int)] - b[(middle * len(b)).astype(int)]
    return float(np.sqrt((widths @ gap**2).mean()))


DISTANCES = {"FD": frechet, "SW": sliced_wasserstein}


def bootstrap(distance, a, b, resamples=50, level=0.95, seed=0) -> Interval:
    """The distance with a bootstrap interval for its sampling error at these sizes.

    Both sets are resampled with replacement.  Resampling adds finite-sample bias to distances of this kind (a set and
    its own resample already differ), so the spread of the resampled values is used, not their position: value plus or
    minus the normal quantile times their standard deviation, cut off at 0.  In simulation (8 features, 200 against 200,
    Gaussian) it held the expected value of the distance in 90 to 99 % of sets that differ, and always where the two
    laws are the same: there it is conservative.
    """
    rng = np.random.default_rng(seed)
    value = distance(a, b)
    values = [
        distance(a[rng.integers(len(a), size=len(a))], b[rng.integers(len(b), size=len(b))]) for _ in range(resamples)
    ]
    half = float(ndtri(0.5 + level / 2) * np.std(values, ddof=1))
    return Interval(value, max(value - half, 0.0), value + half)
