"""Batch k as a pure function of (seed, k): a run resumes at any step with no iterator to save."""

import functools
from dataclasses import dataclass

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.split import Batch, Split
from fewstep.train.data.threads import THREADS

FLIPS = 1  # sets the stream of the flips apart from that of the permutations


@dataclass(frozen=True, eq=False)
class Batches:
    """An endless sequence of batches: each epoch is a fresh permutation, its remainder below `size` dropped.

    flip: each image is mirrored left to right with probability 1/2, of (seed, k, row) alone.  UsageError where the
    split holds fewer images than one batch, or what it holds has no left and right.
    """

    split: Split
    size: int
    seed: int = 0
    flip: bool = False

    def __post_init__(self):
        if self.size < 1:
            raise UsageError(f"train.batch_size = {self.size}: at least 1 is needed")
        if self.size > len(self.split):
            raise UsageError(
                f"train.batch_size = {self.size} exceeds the {len(self.split)} training images: ask for fewer"
            )
        if self.flip and len(self.split.shape) != 3:
            raise UsageError(f"data of shape {self.split.shape} have no left and right to flip: leave train.flip out")

    @property
    def per_epoch(self):
        """Number of batches in one pass over the data."""
        return len(self.split) // self.size

    def batch(self, k, rows=slice(None)) -> Batch:
        """Batch number k, from 0; or only its `rows` (a slice or an array of indices), reading no others."""
        epoch, place = divmod(int(k), self.per_epoch)
        index = _permutation(self.seed, epoch, len(self.split))[place * self.size : (place + 1) * self.size]
        batch = self.split[index[rows]]
        if self.flip:
            mirrored = np.random.default_rng([self.seed, int(k), FLIPS]).random(self.size)[rows] < 0.5
            batch.image[mirrored] = batch.image[mirrored, :, ::-1]
            batch = batch if batch.seed is None else batch._replace(mirrored=mirrored)
        return batch

    def stream(self, first, last, rows=slice(None)):
        """An iterator over `batch(k, rows)` for k from `first` to last - 1; close() it where it may be left early.

        What is not in memory is read and decoded ahead by the threads of grain, a batch each; their errors come out at
        the batch that they are about.
        """
        if self.split.source.in_memory:
            yield from (self.batch(k, rows) for k in range(first, last))
            return
        import grain  # 0.75 s

        batches = grain.MapDataset.range(first, last).map(lambda k: self.batch(k, rows))
        ahead = iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=THREADS)))
        try:
            yield from ahead
        finally:
            ahead.close()


@functools.lru_cache(2)
def _permutation(seed, epoch, n):
    return np.random.default_rng([seed, epoch]).permutation(n)
