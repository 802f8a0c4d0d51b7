"""A data set: images in [-1, 1], optional integer labels, and held-out images."""

import numbers
from dataclasses import dataclass

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.data.split import Source, Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """Two disjoint splits with images of one shape; labels lie in range(classes), and classes is 0 without labels."""

    name: str
    train: Split
    held_out: Split
    classes: int

    @property
    def shape(self) -> tuple:
        """Shape of one image: (H, W, C), or (d,) for vectors."""
        return self.train.shape

    def __str__(self) -> str:
        form = "x".join(map(str, self.shape))
        kind = "images" if len(self.shape) == 3 else "vectors"
        classes = f"{self.classes} classes" if self.classes else "no labels"
        return f"{self.name}: {len(self.train)} {kind} {form} to train on, {len(self.held_out)} held out, {classes}"


def partition(name: str, source: Source, classes: int, held_out: int | float, seed: int) -> Dataset:
    """A Dataset whose held-out images are chosen by a random permutation of `seed`.

    held_out is a fraction in (0, 1) or a number of images.  Raises UsageError if either split would be empty.
    """
    count = _held_out_count(name, held_out, len(source))
    order = np.random.default_rng(seed).permutation(len(source))
    return Dataset(name, Split(source, order[count:]), Split(source, order[:count]), classes)


def class_count(*labels: np.ndarray | None) -> int:
    """The number of classes of label arrays: the largest label + 1, or 0 without labels."""
    return 0 if labels[0] is None else int(max(array.max() for array in labels if array is not None)) + 1


def _held_out_count(name, held_out, n):
    if isinstance(held_out, numbers.Integral):
        count = int(held_out)
    elif isinstance(held_out, numbers.Real) and 0 < float(held_out) < 1:
        count = round(held_out * n)
    else:
        raise UsageError(f"{name}: held_out = {held_out!r} is neither a fraction between 0 and 1 nor an integer")
    if count < 1:
        raise UsageError(f"{name}: held_out = {held_out} of {n} images leaves no held-out images: increase it")
    if count >= n:
        raise UsageError(f"{name}: held_out = {held_out} of {n} images leaves no training images: decrease it")
    return count
