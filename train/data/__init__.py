"""Data sets in memory or on a disk, split once, and batches that depend on (seed, k) alone."""

from train.data.batches import Batches
from train.data.dataset import Dataset
from train.data.plane import points
from train.data.sources import digits, npz
from train.data.split import Arrays, Batch, Split

SOURCES = {"digits": digits, "npz": npz, "points": points}

__all__ = ["SOURCES", "Arrays", "Batch", "Batches", "Dataset", "Split", "digits", "npz", "points"]
