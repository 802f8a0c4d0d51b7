"""Data sets in memory or on a disk, split once, and batches that depend on (seed, k) alone."""

from train.data.batches import Batches
from train.data.dataset import Dataset
from train.data.hub import huggingface
from train.data.images import folder
from train.data.mapped import npy
from train.data.pairs import pairs
from train.data.plane import points
from train.data.records import array_record
from train.data.sources import digits, npz
from train.data.split import Arrays, Batch, Split

SOURCES = {source.__name__: source for source in (digits, points, npz, npy, folder, array_record, huggingface)}

__all__ = ["SOURCES", "Arrays", "Batch", "Batches", "Dataset", "Split", "array_record", "digits", "folder"]
__all__ += ["huggingface", "npy", "npz", "pairs", "points"]
