"""Batch k as a pure function of (seed, k), so that a run resumes at any step without saving an iterator."""

import functools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.data.semidiscrete import Coupled
from fewstep.train.data.split import Batch, Split
from fewstep.train.utils.threads import THREADS

FLIPS, NOISES = 1, 2  # separate the random streams of the flips and of the noise from that of the permutations


@dataclass(frozen=True, eq=False)
class Batches:
    """An infinite sequence of batches: each epoch is a new permutation, without the incomplete last batch.

    flip: mirror each image left to right with probability 1/2, as a function of (seed, k, row).  coupling: replace each
    image by that of its class which fresh noise is paired with; both are mirrored together.  Raises UsageError if the
    split has fewer items than a batch, or for flip with data that are not images.
    """

    split: Split
    size: int
    seed: int = 0
    flip: bool = False
    coupling: Coupled | None = None

    def __post_init__(self):
        if self.size < 1:
            raise UsageError(f"train.batch_size = {self.size}: it must be at least 1")
        if self.size > len(self.split):
            raise UsageError(
                f"train.batch_size = {self.size} exceeds the {len(self.split)} training images: choose a smaller one"
            )
        if self.flip and len(self.split.shape) != 3:
            raise UsageError(f"train.flip requires images, and the data has shape {self.split.shape}: turn it off")

    @property
    def per_epoch(self) -> int:
        """Number of batches per epoch."""
        return len(self.split) // self.size

    def batch(self, k: int, rows: Any = slice(None)) -> Batch:
        """Batch k, counted from 0; with `rows` (a slice or an array of indices) only these rows are read."""
        epoch, place = divmod(int(k), self.per_epoch)
        index = _permutation(self.seed, epoch, len(self.split))[place * self.size : (place + 1) * self.size]
        if self.coupling is None:
            batch = self.split[index[rows]]
        else:
            rng = np.random.default_rng([self.seed, int(k), NOISES])
            eps = rng.standard_normal((self.size, *self.split.shape), np.float32)[rows]
            batch = self.coupling.batch(index[rows], eps)
        if self.flip:
            mirrored = np.random.default_rng([self.seed, int(k), FLIPS]).random(self.size)[rows] < 0.5
            for array in (batch.image, batch.eps):
                if array is not None:
                    array[mirrored] = array[mirrored, :, ::-1]
            batch = batch if batch.seed is None else batch._replace(mirrored=mirrored)
        return batch

    def stream(self, first: int, last: int, rows: Any = slice(None)) -> Generator[Batch, None, None]:
        """Yields `batch(k, rows)` for k from `first` to last - 1; call close() when leaving it early.

        Data on disk is prefetched by grain, one batch per thread; an error is raised at the batch that it concerns.
        """
        if self.split.source.in_memory:
            yield from (self.batch(k, rows) for k in range(first, last))
            return
        import grain  # imported late: it takes 0.75 s

        batches = grain.MapDataset.range(first, last).map(lambda k: self.batch(k, rows))
        ahead = iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=THREADS)))
        try:
            yield from ahead
        finally:
            ahead.close()


@functools.lru_cache(2)
def _permutation(seed, epoch, n):
    return np.random.default_rng([seed, epoch]).permutation(n)
