"""A folder of images, decoded when they are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.ranges import Seed, checked
from fewstep.train.data.dataset import Dataset, HeldOut, partition
from fewstep.train.data.decode import MOST_PIXELS, BadImage, Channels, Pixels, Side
from fewstep.train.data.decoded import Decoded
from fewstep.train.data.scan import scan


@checked
def folder(
    path: str,
    size: Side = 32,
    channels: Channels = 3,
    held_out: HeldOut = 0.1,
    seed: Seed = 0,
    strict: bool = False,
    max_pixels: Pixels = MOST_PIXELS,
) -> Dataset:
    """The images in a folder, resized to size x size with 1 or 3 channels, from any files that Pillow reads (`decode`).

    If two or more subfolders hold images, each is a class, sorted by name; all images must be in subfolders, or all in
    the folder itself.  A single subfolder is descended into, as in photos/train/cat.  Hidden files are ignored.  Every
    file is decoded once when the folder is opened: bad files, and those of more than max_pixels, are logged and
    skipped, or raise UsageError if `strict`.  held_out is a fraction below 1 or a number of images.  Raises
    FileNotFoundError or UsageError for an invalid folder.
    """
    found = scan(path, size, channels, strict, max_pixels=max_pixels)
    labels = np.array(found.labels, np.int32) if found.classes else None
    source = _Files(labels, size, channels, max_pixels, found.root, found.files)
    return partition(found.root.resolve().name, source, len(found.classes), held_out, seed, found.classes)


@dataclass(frozen=True, eq=False)
class _Files(Decoded):
    root: Path
    names: list

    def __len__(self) -> int:
        return len(self.names)

    def files(self, indices: np.ndarray) -> Iterable[Any]:
        return [self.root / self.names[i] for i in indices]

    def refusal(self, i: int, reason: BadImage) -> str:
        file = self.root / self.names[i]
        return f"{file}: {reason}, but it was an image when the folder was opened: restore it and resume"
