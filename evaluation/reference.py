"""Real images to measure against, and their features, which are computed once and kept in the run."""

import io
import math
from typing import NamedTuple

import numpy as np
from etils import epath

from fewstep.evaluation.features import stored
from fewstep.train.contents import digest
from fewstep.train.data.archive import BROKEN
from fewstep.train.files import write_atomic

MOST, NUMBERS = 10_000, 2**28  # images, and numbers in them, at most: more may not fit into memory


class Reference(NamedTuple):
    """Images as they are stored: held-out ones (M, ...), and training ones (T, ...), which a model may have copied."""

    held_out: np.ndarray
    seen: np.ndarray


def reference(data, count) -> Reference:
    """Of a data set: held-out images spread evenly over all of them, as many as MOST and NUMBERS allow, and the first
    `count` training images (None: all), or as many as there are or NUMBERS allow."""
    split, most = data.held_out, _most(data)
    at = np.linspace(0, len(split) - 1, min(len(split), MOST, most)).astype(int)
    seen = min(len(data.train) if count is None else count, most)
    return Reference(stored(split[at].image), stored(data.train[:seen].image))


def _most(data):
    """Images with NUMBERS numbers, but two, of which a covariance can be told."""
    return max(2, NUMBERS // math.prod(data.shape))


def kept(features, images, folder) -> np.ndarray:
    """The features of images as they are stored, (N, d): read from the folder where they were kept under the contents
    of the images and the digest of the features, computed and kept otherwise."""
    if not features.digest:
        return features(images)
    key = digest(images, features.digest)
    path = epath.Path(folder) / f"{features.name}-{key[:16]}.npz"
    if path.exists():
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                if str(file["key"]) == key:
                    return file["features"].astype(np.float64)
        except (*BROKEN, KeyError):
            pass  # made anew
    found = features(images)
    file = io.BytesIO()
    np.savez(file, key=key, features=found.astype(np.float32))  # networks compute in it
    write_atomic(path, file.getvalue())
    return found
