"""Data sets in memory or on disk, and batches that are a function of (seed, k)."""

from fewstep.train.data.batches import Batches
from fewstep.train.data.dataset import Dataset
from fewstep.train.data.hub import huggingface
from fewstep.train.data.images import folder
from fewstep.train.data.mapped import npy
from fewstep.train.data.pairs import pairs
from fewstep.train.data.plane import points
from fewstep.train.data.records import array_record
from fewstep.train.data.sources import arrays, digits, npz
from fewstep.train.data.split import Arrays, Batch, Split

SOURCES = {source.__name__: source for source in (digits, points, npz, npy, folder, array_record, huggingface)}

__all__ = ["SOURCES", "Arrays", "Batch", "Batches", "Dataset", "Split", "array_record", "arrays", "digits", "folder"]
__all__ += ["huggingface", "npy", "npz", "pairs", "points"]
