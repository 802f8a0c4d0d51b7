"""SW and mind, the distances by optimal transport along directions, against closed forms."""

import numpy as np
import pytest

from fewstep.evaluation.distances import DISTANCES, frechet


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def value(name, drawn, real):
    return DISTANCES[name](real)(drawn)[name].value


def test_sliced_wasserstein_of_a_shift_and_a_scale(rng):
    """In one dimension every direction is +-1: the plain 1-D distance."""
    a = rng.standard_normal((50, 1))
    assert value("SW", a, a + 2.5) == pytest.approx(2.5, rel=1e-12)
    d, m = 10, 0.5
    x, y = rng.standard_normal((4000, d)), 1.5 * rng.standard_normal((4000, d)) + m
    found = DISTANCES["SW"](x, directions=500)(y)["SW"].value
    assert found**2 == pytest.approx(d * m**2 / d + 0.5**2, rel=0.1)  # |m|^2 / d + (1 - s)^2


def test_sliced_wasserstein_of_unequal_sizes_equals_repetition_to_a_common_size(rng):
    a, b = rng.standard_normal((6, 3)), rng.standard_normal((8, 3))
    assert value("SW", a, b) == pytest.approx(value("SW", a.repeat(4, 0), b.repeat(3, 0)), rel=1e-12)
    assert value("SW", a, b) == pytest.approx(value("SW", b, a), rel=1e-12)


def test_mind_of_a_shift_is_its_squared_length(rng):
    """Exactly, as FD is; and of copies of unequal numbers too."""
    a, m = rng.standard_normal((60, 7)), np.linspace(0.1, 0.7, 7)
    assert value("mind", a, a + m) == pytest.approx(m @ m, rel=1e-12)
    assert value("mind", a.repeat(2, 0), a.repeat(3, 0) + m) == pytest.approx(m @ m, rel=1e-12)
    assert value("mind", a, a @ np.diag([3.0] * 7)) == pytest.approx(
        4 * (a**2).sum(1).mean(), rel=1e-12
    )  # each item moves by 2 a


def test_mind_of_gaussians_is_fd(rng):
    d, m, s = 10, 0.5, 1.5
    x, y = rng.standard_normal((2000, d)), s * rng.standard_normal((2000, d)) + m
    assert value("mind", x, y) == pytest.approx(d * m**2 + d * (1 - s) ** 2, rel=0.05)
    assert value("mind", x, y) == pytest.approx(frechet(x, y), rel=0.03)


def test_mind_takes_directions_in_parts(rng, monkeypatch):
    """Of more features than directions they are a part of a basis."""
    a, b = rng.standard_normal((30, 1500)), rng.standard_normal((25, 1500)) + 0.3
    assert value("mind", a, a + 0.3) == pytest.approx(1500 * 0.3**2, rel=0.1)
    whole = DISTANCES["mind"](b)(a)["mind"]
    monkeypatch.setattr("fewstep.evaluation.distances.sliced.DIRECTIONS", 100)
    for part, expected in zip(DISTANCES["mind"](b)(a)["mind"], whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-9)


def test_mind_exposes_what_matches_two_moments(rng):
    """Two clusters against a Gaussian with their mean and covariance, which FD takes for the same."""

    def clusters():
        return np.repeat([-1.0, 1.0], 250)[:, None] + 0.3 * rng.standard_normal((500, 6))

    real, fresh = clusters(), clusters()
    drawn = rng.standard_normal((500, 6))
    drawn = np.linalg.solve(np.linalg.cholesky(np.cov(drawn.T)), (drawn - drawn.mean(0)).T)  # of covariance I
    drawn = real.mean(0) + (np.linalg.cholesky(np.cov(real.T)) @ drawn).T
    assert frechet(drawn, real) < 1e-12 < frechet(fresh, real)
    matched, floor = (DISTANCES["mind"](real)(items)["mind"].interval() for items in (drawn, fresh))
    assert matched.low > 3 * floor.high
