"""A part of a data set that is indexed like an array, whether its images lie in memory or on a disk."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class Batch(NamedTuple):
    """image (B, *shape) float32 in [-1, 1]; label (B,) int32, or None when unlabelled.

    Of pairs also the seed of the noise that became the image, (B,), and whether the image is mirrored since, (B,) or
    None for no.  A single item has no axis B.
    """

    image: np.ndarray
    label: np.ndarray | None
    seed: np.ndarray | None = None
    mirrored: np.ndarray | None = None


class Source(Protocol):
    """Raw images of one shape by their number; len() is how many there are.  `read` may be called by many threads."""

    shape: tuple
    in_memory: bool  # reading costs nothing: no thread reads ahead

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """indices (n,) -> images (n, *shape), uint8 or float32 in [-1, 1], and labels (n,) int32 or None: new arrays.

        UsageError names what can no longer be read.
        """


@dataclass(frozen=True, eq=False)
class Arrays:
    """A source that is an array: images (N, *shape), uint8 or float32 in [-1, 1]; labels (N,) int32 or None."""

    images: np.ndarray
    labels: np.ndarray | None = None
    in_memory: bool = True

    @property
    def shape(self):
        return self.images.shape[1:]

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[indices], None if self.labels is None else self.labels[indices]


@dataclass(frozen=True, eq=False)
class Split:
    """The items of `source` at `index` (N,), all of them where it is left out.  len() is N.

    split[3] is a Batch of one item without an axis for it; split[[1, 2]] and split[:500] are Batches of several.  uint8
    becomes x / 127.5 - 1 as it is read.  IndexError beyond the end.
    """

    source: Source
    index: np.ndarray | None = None

    def __post_init__(self):
        if self.index is None:
            object.__setattr__(self, "index", np.arange(len(self.source)))

    @property
    def shape(self):
        """Shape of one image: (H, W, C), or (d,) for vectors."""
        return self.source.shape

    def __len__(self):
        return len(self.index)

    def __getitem__(self, at) -> Batch:
        index = np.asarray(self.index[at])
        images, labels = self.source.read(np.atleast_1d(index))
        seeds = getattr(self.source, "seeds", None)  # of pairs
        batch = Batch(_floats(images), labels, None if seeds is None else seeds[np.atleast_1d(index)])
        return batch if index.ndim else Batch(*(None if a is None else a[0] for a in batch))


def _floats(images):
    if images.dtype != np.uint8:
        return images
    images = images / np.float32(127.5)
    images -= 1
    return images
