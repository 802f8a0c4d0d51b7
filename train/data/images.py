"""A folder of images, decoded as they are read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewstep.train.data.dataset import partition
from fewstep.train.data.decoded import Decoded
from fewstep.train.data.scan import scan


def folder(path: str, size=32, channels=3, held_out: int | float = 0.1, seed=0, strict=False):
    """The images in a folder, size x size with 1 or 3 channels, from whatever files Pillow reads (`decode`).

    Two or more sub-folders that hold images are classes, in the order of their names as texts; images lie all in those,
    or all in the folder itself.  Of a single sub-folder what is in it counts, as in photos/train/cat.  Hidden files are
    ignored.  Every file is decoded once when the folder is opened: bad ones are named on stderr and skipped, or refused
    where `strict`.  held_out is a fraction below 1 or a count.
    FileNotFoundError or UsageError say what is wrong with the folder.
    """
    found = scan(path, size, channels, strict)
    labels = np.array(found.labels, np.int32) if found.classes else None
    source = _Files(labels, size, channels, found.root, found.files)
    return partition(found.root.resolve().name, source, len(found.classes), held_out, seed)


@dataclass(frozen=True, eq=False)
class _Files(Decoded):
    root: Path
    names: list

    def __len__(self):
        return len(self.names)

    def files(self, indices):
        return [self.root / self.names[i] for i in indices]

    def refusal(self, i, why):
        file = self.root / self.names[i]
        return f"{file}: {why}, though it was an image when the folder was opened: put it back and go on"
