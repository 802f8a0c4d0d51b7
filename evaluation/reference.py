"""Real images to measure against, and their features, which are computed once and kept in the run."""

import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from etils import epath

from fewstep.evaluation.features import quantized
from fewstep.train.utils import npz
from fewstep.train.utils.hashing import digest

MOST, NUMBERS = 10_000, 2**28  # images, and numbers in them, at most: more may not fit into memory


class Reference(NamedTuple):
    """Images as they are stored: held-out ones (M, ...), and training ones (T, ...), which a model may have copied."""

    held_out: np.ndarray
    training: np.ndarray


def reference(data, count) -> Reference:
    """Of a data set: held-out images spread evenly over all of them, as many as MOST and NUMBERS allow, and the first
    `count` training images (None: all), or as many as there are or NUMBERS allow."""
    split, most = data.held_out, _most(data)
    at = np.linspace(0, len(split) - 1, min(len(split), MOST, most)).astype(int)
    training = min(len(data.train) if count is None else count, most)
    return Reference(quantized(split[at].image), quantized(data.train[:training].image))


def _most(data):
    """Images with NUMBERS numbers, but two, of which a covariance can be told."""
    return max(2, NUMBERS // math.prod(data.shape))


def cached_features(features, images, folder) -> np.ndarray:
    """The features of images as they are stored, (N, d): read from the folder where they were kept under the contents
    of the images and the digest of the features, computed and kept otherwise."""
    if not features.digest:
        return features(images)
    key = digest(images, features.digest)
    path = epath.Path(folder) / f"{features.name}-{key[:16]}.npz"
    if path.exists():
        with suppress(npz.Damaged, KeyError):  # computed anew
            arrays = npz.read(path)
            if str(arrays["key"]) == key:
                return arrays["features"].astype(np.float64)
    found = features(images)
    npz.write(path, key=key, features=found.astype(np.float32))  # networks compute in it
    return found
