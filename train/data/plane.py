"""Synthetic 2-D points, whose whole distribution a plot can show."""

from typing import Annotated

import numpy as np

from fewstep.errors import lookup
from fewstep.ranges import Range, Seed, checked
from fewstep.train.data.dataset import Dataset, HeldOut, partition
from fewstep.train.data.split import Arrays


@checked
def points(
    kind: str = "moons",
    count: Annotated[int, Range(2, 10**8)] = 20_000,
    held_out: HeldOut = 2_000,
    noise: Annotated[float, Range(0, 10)] = 0.05,
    seed: Seed = 0,
) -> Dataset:
    """`count` points of shape (2,) within [-1, 1], of which `held_out` are held out.

    moons           two half circles of radius 1 with Gaussian noise; the label is the moon
    mixture         eight Gaussians on a circle of radius 1; the label is the component
    checkerboard    uniform on the dark squares of a 4 x 4 board, without noise; no labels

    noise is the standard deviation relative to the radius, truncated at 4 standard deviations so that a fixed scale
    maps all points into the box.  Raises UsageError for an unknown kind or invalid numbers.
    """
    make = lookup("kind of points", kind, KINDS)
    rng = np.random.default_rng(seed).spawn(1)[0]  # `partition` uses the stream of the seed itself
    xy, labels, classes = make(rng, count, noise)
    labels = None if labels is None else labels.astype(np.int32)
    return partition(kind, Arrays(xy.astype(np.float32), labels), classes, held_out, seed)


def _blurred(rng, xy, noise, extent):
    """Add Gaussian noise to points with coordinates in [-extent, extent], and scale them to [-1, 1]."""
    return (xy + noise * rng.standard_normal(xy.shape).clip(-4, 4)) / (extent + 4 * noise)


def _moons(rng, count, noise):
    moon = rng.integers(2, size=count)
    angle, side = np.pi * rng.random(count), 1 - 2 * moon
    xy = np.stack([moon + side * np.cos(angle), moon / 2 + side * np.sin(angle)], axis=1)
    return _blurred(rng, xy - (0.5, 0.25), noise, extent=1.5), moon, 2


def _mixture(rng, count, noise):
    component = rng.integers(8, size=count)
    angle = 2 * np.pi * component / 8
    return _blurred(rng, np.stack([np.cos(angle), np.sin(angle)], axis=1), noise, extent=1), component, 8


def _checkerboard(rng, count, noise):
    column, half = rng.integers(4, size=count), rng.integers(2, size=count)
    corner = np.stack([column, 2 * half + column % 2], axis=1)
    return (corner + rng.random((count, 2))) / 2 - 1, None, 0


KINDS = {"moons": _moons, "checkerboard": _checkerboard, "mixture": _mixture}
