"""A data set: images in [-1, 1], optional integer labels, and held-out images."""

import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fewstep.errors import UsageError
from fewstep.ranges import Range
from fewstep.train.data.split import Source, Split

FEW = 1000  # classes that a small sample of images may have
# A fraction of the images, or their number.
HeldOut = Annotated[int, Range(1, 10**9)] | Annotated[float, Range(above=0, below=1)]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Two disjoint splits with images of one shape; labels lie in range(classes), and classes is 0 without labels.

    names: those of the classes, if they have names.
    """

    name: str
    train: Split
    held_out: Split
    classes: int
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if self.names and len(self.names) != self.classes:
            raise UsageError(f"{self.name} has {self.classes} classes and {len(self.names)} names: give one for each")

    @property
    def shape(self) -> tuple:
        """Shape of one image: (H, W, C), or (d,) for vectors."""
        return self.train.shape

    def __str__(self) -> str:
        form = "x".join(map(str, self.shape))
        kind = "images" if len(self.shape) == 3 else "vectors"
        classes = f"{self.classes} classes" if self.classes else "no labels"
        return f"{self.name}: {len(self.train)} {kind} {form} to train on, {len(self.held_out)} held out, {classes}"


def partition(
    name: str, source: Source, classes: int, held_out: HeldOut, seed: int, names: Iterable[str] = ()
) -> Dataset:
    """A Dataset whose held-out images are chosen by a random permutation of `seed`.

    held_out is a fraction in (0, 1) or a number of images.  Raises UsageError if either split would be empty.
    """
    count = _held_out_count(name, held_out, len(source))
    order = np.random.default_rng(seed).permutation(len(source))
    return Dataset(name, Split(source, order[count:]), Split(source, order[:count]), classes, tuple(names))


def class_count(*labels: np.ndarray | None) -> int:
    """The number of classes of label arrays: the largest label + 1, or 0 without labels.

    UsageError for more classes than there are labels.
    """
    if labels[0] is None:
        return 0
    known = np.concatenate([array for array in labels if array is not None])
    count = int(known.max()) + 1
    if count > max(len(known), FEW):
        raise UsageError(
            f"the labels go up to {count - 1}, so that {len(known)} images would have {count} classes: number the "
            f"classes from 0 without gaps, as np.unique(labels, return_inverse=True)[1] does"
        )
    return count


def _held_out_count(name, held_out, n):
    count = int(held_out) if isinstance(held_out, numbers.Integral) else round(held_out * n)
    if count < 1:
        raise UsageError(f"{name}: held_out = {held_out} of {n} images leaves no held-out images: increase it")
    if count >= n:
        raise UsageError(f"{name}: held_out = {held_out} of {n} images leaves no training images: decrease it")
    return count
