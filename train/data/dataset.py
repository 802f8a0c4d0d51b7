"""A data set: images in [-1, 1], integer labels or none, and a part that training never sees."""

import numbers
from dataclasses import dataclass

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.split import Source, Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """Two disjoint splits of one shape; labels lie in range(classes), and classes is 0 when there are none."""

    name: str
    train: Split
    held_out: Split
    classes: int

    @property
    def shape(self):
        """Shape of one image: (H, W, C), or (d,) for vectors."""
        return self.train.shape

    def __str__(self):
        form = "x".join(map(str, self.shape))
        kind = "images" if len(self.shape) == 3 else "vectors"
        classes = f"{self.classes} classes" if self.classes else "no labels"
        return f"{self.name}: {len(self.train)} {kind} {form} to train on, {len(self.held_out)} held out, {classes}"


def partition(name, source: Source, classes, held_out, seed):
    """Dataset whose held-out part is drawn without replacement by a permutation of `seed`.

    held_out is a fraction in (0, 1) or a count of images; UsageError where either part would be empty.
    """
    count = _held_out_count(name, held_out, len(source))
    order = np.random.default_rng(seed).permutation(len(source))
    return Dataset(name, Split(source, order[count:]), Split(source, order[:count]), classes)


def class_count(*labels):
    """Number of classes of label arrays: the largest label + 1, or 0 where the first is None."""
    return 0 if labels[0] is None else int(max(array.max() for array in labels)) + 1


def _held_out_count(name, held_out, n):
    if isinstance(held_out, numbers.Integral):
        count = int(held_out)
    elif isinstance(held_out, numbers.Real) and 0 < held_out < 1:
        count = round(held_out * n)
    else:
        raise UsageError(f"{name}: held_out = {held_out!r} is neither a fraction between 0 and 1 nor a whole number")
    if count < 1:
        raise UsageError(f"{name}: held_out = {held_out} of {n} images leaves no held-out images: ask for more")
    if count >= n:
        raise UsageError(f"{name}: held_out = {held_out} of {n} images leaves no training images: ask for fewer")
    return count
