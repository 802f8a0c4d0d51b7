"""Distances against closed forms and independent implementations."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from evaluation.distances import DISTANCES, bootstrap, frechet, sliced_wasserstein
from evaluation.features import pixels

RNG = np.random.default_rng(0)


def standardised(n, d):
    """Samples whose mean is exactly 0 and covariance exactly I."""
    x = RNG.standard_normal((n, d))
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def longhand(a, b):
    s, t = np.cov(a.T), np.cov(b.T)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)


def test_frechet_of_known_moments():
    a, m, s = standardised(300, 6), np.linspace(0, 1, 6), 1.7
    assert frechet(a, m + s * standardised(200, 6)) == pytest.approx(m @ m + 6 * (1 - s) ** 2, rel=1e-9)


def test_frechet_equals_scipys_square_root():
    a, b = RNG.standard_normal((80, 12)) @ RNG.standard_normal((12, 12)), RNG.standard_normal((90, 12)) + 0.3
    assert frechet(a, b) == pytest.approx(longhand(a, b), rel=1e-8)


def test_frechet_with_fewer_samples_than_features():
    a, b = RNG.standard_normal((7, 20)), RNG.standard_normal((30, 20))
    s, t = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(s @ t).real, 0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * root
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("distance", DISTANCES.values())
def test_identical_sets_and_constant_features(distance):
    a = RNG.standard_normal((40, 5))
    assert distance(a, a) == pytest.approx(0, abs=1e-6)
    assert distance(np.ones((10, 5)), np.ones((12, 5))) == pytest.approx(0, abs=1e-6)


def test_frechet_of_constants_is_their_squared_difference():
    assert frechet(np.full((10, 5), 1.0), np.full((12, 5), 3.0)) == pytest.approx(20, rel=1e-12)


@pytest.mark.parametrize("distance", DISTANCES.values())
@pytest.mark.parametrize(
    ("a", "b", "part"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 and 4"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "finite"),
        (np.zeros(5), np.zeros((5, 3)), "shape"),
    ],
)
def test_what_makes_no_sense_is_refused(distance, a, b, part):
    with pytest.raises(ValueError, match=part):
        distance(a, b)


def test_sliced_wasserstein_of_a_shift_and_a_scale():
    """In one dimension every direction is +-1: the plain 1-D distance."""
    a = RNG.standard_normal((50, 1))
    assert sliced_wasserstein(a, a + 2.5) == pytest.approx(2.5, rel=1e-12)
    d, m = 10, 0.5
    x, y = RNG.standard_normal((4000, d)), 1.5 * RNG.standard_normal((4000, d)) + m
    expected = np.sqrt(d * m**2 / d + 0.25)  # |m|^2 / d + (1 - s)^2, algorithms.md H6
    assert sliced_wasserstein(x, y, directions=1000) == pytest.approx(expected, rel=0.05)


def test_sliced_wasserstein_of_unequal_sizes_equals_repetition_to_a_common_size():
    a, b = RNG.standard_normal((6, 3)), RNG.standard_normal((8, 3))
    assert sliced_wasserstein(a, b) == pytest.approx(sliced_wasserstein(a.repeat(4, 0), b.repeat(3, 0)), rel=1e-12)


def test_bootstrap_covers_the_expected_value():
    found = []
    for trial in range(80):
        rng = np.random.default_rng(trial)
        found.append(bootstrap(frechet, rng.standard_normal((150, 4)) + 0.4, rng.standard_normal((150, 4)), seed=trial))
    mean = np.mean([interval.value for interval in found])
    covered = np.mean([interval.low <= mean <= interval.high for interval in found])
    assert covered >= 0.9
    assert np.mean([interval.high - interval.value for interval in found]) < 4 * np.std([i.value for i in found])


def test_pixels_are_what_a_file_would_hold():
    images = np.array([-1.0, 0.0, 1.0, 3.0, -3.0, 0.001]).reshape(1, 2, 3, 1)
    np.testing.assert_allclose(pixels(images)[0], np.array([0, 128, 255, 255, 0, 128]) / 255)
    points = RNG.standard_normal((4, 2))
    np.testing.assert_array_equal(pixels(points), points)
