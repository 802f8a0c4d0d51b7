"""Batch k as a pure function of (seed, k): a run resumes at any step with no iterator to save."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from train.data.dataset import Split


class Batch(NamedTuple):
    """image (B, *shape) float32 in [-1, 1]; label (B,) int32, or None when unlabelled."""

    image: np.ndarray
    label: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Batches:
    """An endless sequence of batches: each epoch is a fresh permutation, its remainder below `size` dropped.

    ValueError where the split holds fewer images than one batch.
    """

    split: Split
    size: int
    seed: int = 0

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"batch size {self.size}: ask for at least 1")
        if self.size > len(self.split):
            raise ValueError(f"batch size {self.size} exceeds the {len(self.split)} images there are: ask for fewer")

    @property
    def per_epoch(self):
        """Number of batches in one pass over the data."""
        return len(self.split) // self.size

    def batch(self, k):
        """Batch number k, from 0."""
        epoch, place = divmod(int(k), self.per_epoch)
        index = _permutation(self.seed, epoch, len(self.split))[place * self.size : (place + 1) * self.size]
        labels = self.split.labels
        return Batch(self.split.images[index], None if labels is None else labels[index])


@functools.lru_cache(2)
def _permutation(seed, epoch, n):
    return np.random.default_rng([seed, epoch]).permutation(n)
