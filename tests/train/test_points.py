"""The point sets: where they lie and how they are labelled."""

import numpy as np
import pytest
from refused import message

from fewstep.train.data import points


@pytest.mark.parametrize(("kind", "classes"), [("moons", 2), ("mixture", 8), ("checkerboard", 0)])
def test_points_counts_and_classes(kind, classes):
    data = points(kind, count=3000, held_out=400)
    assert (data.name, len(data.train), len(data.held_out), data.shape) == (kind, 2600, 400, (2,))
    assert data.classes == classes
    assert not np.array_equal(data.train[:].image, points(kind, count=3000, held_out=400, seed=1).train[:].image)
    if classes:
        assert np.bincount(data.train[:].label).min() > 0.8 * 2600 / classes


def test_moons_without_noise_lie_on_their_half_circles():
    image, label, *_ = points("moons", noise=0).train[:]
    xy, upper = image * 1.5 + (0.5, 0.25), label == 0
    np.testing.assert_allclose(np.hypot(*xy[upper].T), 1, atol=1e-6)
    np.testing.assert_allclose(np.hypot(*(xy[~upper] - (1, 0.5)).T), 1, atol=1e-6)
    assert xy[upper, 1].min() > -1e-6
    assert xy[~upper, 1].max() < 0.5 + 1e-6


def test_mixture_components_have_the_stated_mean_and_standard_deviation():
    (image, label, *_), scale = points("mixture", noise=0.1).train[:], 1 / 1.4
    for component, angle in enumerate(np.arange(8) * np.pi / 4):
        xy = image[label == component]
        np.testing.assert_allclose(xy.mean(0), scale * np.array([np.cos(angle), np.sin(angle)]), atol=0.01)
        np.testing.assert_allclose(xy.std(0), 0.1 * scale, rtol=0.1)


def test_checkerboard_fills_every_other_square_evenly():
    squares = np.floor((points("checkerboard").train[:].image + 1) * 2).astype(int)
    counts = np.zeros((4, 4), int)
    np.add.at(counts, tuple(squares.T.clip(0, 3)), 1)
    dark = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    assert counts[~dark].sum() == 0
    assert counts[dark].min() > 0.9 * 18_000 / 8


@pytest.mark.parametrize("noise", [0.0, 0.05, 2.0])
@pytest.mark.parametrize("kind", ["moons", "mixture", "checkerboard"])
def test_points_stay_in_the_box_whatever_the_noise(kind, noise):
    assert np.abs(points(kind, noise=noise).train[:].image).max() <= 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"kind": "moon"}, "'moon': did you mean 'moons'?"),
        ({"kind": "chekerboard"}, "did you mean 'checkerboard'?"),
        ({"count": 0}, "points.count is a whole number"),
        ({"count": 2e4}, "points.count is a whole number"),
        ({"noise": -0.1}, "points.noise is a number in [0, 10]: got -0.1"),
        ({"noise": float("nan")}, "points.noise is a number in [0, 10]: got nan"),
        ({"count": 2000}, "held_out = 2000 of 2000 images leaves no training images"),
    ],
)
def test_points_that_cannot_be(options, part):
    assert part in message(lambda: points(**options))
