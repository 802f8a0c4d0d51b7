"""Data sets in memory, split once, and batches that depend on (seed, k) alone."""

from train.data.batches import Batch, Batches
from train.data.dataset import Dataset, Split
from train.data.plane import points
from train.data.sources import digits, npz

SOURCES = {"digits": digits, "npz": npz, "points": points}

__all__ = ["SOURCES", "Batch", "Batches", "Dataset", "Split", "digits", "npz", "points"]
