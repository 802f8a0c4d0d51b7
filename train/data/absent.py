"""The data of an imported run: unknown until they are named."""

import os
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.data.dataset import Dataset
from fewstep.train.data.images import folder
from fewstep.train.data.mapped import npy
from fewstep.train.data.sources import digits, npz
from fewstep.train.data.split import Arrays, Split

HALF = 0.5
BLANK = "no data"  # the name of what stands in the place of data


def no_data() -> Dataset:
    """Stands in a config for data that nobody has named yet."""
    raise UsageError(
        "the data of this imported run are not known: name some, as in --data digits, --data FOLDER or --data FILE.npz "
        "(in train --set train.data=@digits)"
    )


def named(text: str, shape: Iterable[int]) -> Callable[[], Dataset]:
    """The source that a text names, for images of a shape: digits, a folder of images, an .npz or .npy file.

    Folders are read in the size and the number of channels of the shape; classes are those of their sub-folders.  Half
    of the images are held out: what the model was trained on is unknown, and comparisons measure against them.
    """
    if text == "digits":
        return digits
    path, sizes = os.path.abspath(os.path.expanduser(text)) if text else "", list(shape)
    if os.path.isdir(path):
        return partial(folder, path=path, size=sizes[0], channels=sizes[-1], held_out=HALF)
    if os.path.isfile(path) and path.endswith((".npz", ".npy")):
        return partial(npz if path.endswith(".npz") else npy, path=path, held_out=HALF)
    raise UsageError(f"data {text}: write digits, or the path of a folder of images, of an .npz or of an .npy file")


def blank(shape: Iterable[int], classes: int, names: Iterable[str] = ()) -> Dataset:
    """Grey images, one of each class to train on and two held out, in the place of data that nobody has named: what
    compares samplers by trajectories alone does not look at them."""
    count = max(classes, 2)
    grey = np.zeros((count, *shape), np.float32)
    labels = np.arange(count, dtype=np.int32) if classes else None
    whole = Arrays(grey, labels)
    return Dataset(BLANK, Split(whole, np.arange(count)), Split(whole, np.arange(2)), classes, tuple(names))
