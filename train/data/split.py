"""A split of a data set that is indexed like an array, with images in memory or on disk."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import numpy as np


class Batch(NamedTuple):
    """A batch of NumPy arrays, or of JAX arrays under jit; a single item has no axis B.

    seed and mirrored are set for pairs of noise and image only, eps for a coupling.
    """

    image: Any  # (B, *shape) float32 in [-1, 1]
    label: Any  # (B,) int32, or None without labels
    seed: Any = None  # (B,) seed of the noise of each image
    mirrored: Any = None  # (B,) bool, whether the image was mirrored; None: no image was
    eps: Any = None  # (B, *shape) float32 noise that the image was chosen for


class Source(Protocol):
    """Raw images of one shape by index; len() is their number.  `read` must be thread-safe."""

    @property
    def shape(self) -> tuple:
        """Shape of one image."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether reading is cheap, so that batches are not prefetched in threads."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """indices (n,) -> new arrays: images (n, *shape), uint8 or float32 in [-1, 1]; labels (n,) int32, or None.

        Raises UsageError for images that can no longer be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class Arrays:
    """A source in memory: images (N, *shape), uint8 or float32 in [-1, 1]; labels (N,) int32, or None."""

    images: np.ndarray
    labels: np.ndarray | None = None
    in_memory: bool = True

    @property
    def shape(self) -> tuple:
        return self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return self.images[indices], None if self.labels is None else self.labels[indices]


@dataclass(frozen=True, eq=False)
class Split:
    """The items of `source` at the positions `index` (N,), by default all.  len() is N.

    split[3] is a Batch of one item without a batch axis; split[[1, 2]] and split[:500] are Batches of several.  uint8
    images are scaled by x / 127.5 - 1.  Raises IndexError for positions out of range.
    """

    source: Source
    index: np.ndarray | None = None

    def __post_init__(self):
        if self.index is None:
            object.__setattr__(self, "index", np.arange(len(self.source)))

    @property
    def shape(self) -> tuple:
        """Shape of one image: (H, W, C), or (d,) for vectors."""
        return self.source.shape

    def __len__(self) -> int:
        return len(cast(np.ndarray, self.index))

    def __getitem__(self, at: Any) -> Batch:
        index = np.asarray(cast(np.ndarray, self.index)[at])
        images, labels = self.source.read(np.atleast_1d(index))
        seeds = getattr(self.source, "seeds", None)  # of pairs
        batch = Batch(_floats(images), labels, None if seeds is None else seeds[np.atleast_1d(index)])
        return batch if index.ndim else Batch(*(None if a is None else a[0] for a in batch))


def evenly_spaced(split: Split, most: int) -> np.ndarray:
    """The positions of min(len(split), most) evenly spaced items of a split."""
    return np.linspace(0, len(split) - 1, min(len(split), most)).astype(int)


def _floats(images):
    if images.dtype != np.uint8:
        return images
    images = images / np.float32(127.5)
    images -= 1
    return images
