"""Real images to compare with, and their features, which are cached in the run."""

import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from etils import epath

from fewstep.evaluation.features import Features, quantized
from fewstep.train.data.dataset import Dataset
from fewstep.train.data.split import evenly_spaced
from fewstep.train.utils import npz
from fewstep.train.utils.hashing import digest

MOST, NUMBERS = 10_000, 2**28  # images, and elements of them, at most: more may not fit into memory


class Reference(NamedTuple):
    """Quantized held-out images (M, ...) and training images (T, ...), which a model may have copied."""

    held_out: np.ndarray
    training: np.ndarray


def reference(data: Dataset, count: int | None) -> Reference:
    """Evenly spaced held-out images, as many as MOST and NUMBERS allow, and the first `count` training images (None:
    all), as many as NUMBERS allows."""
    split, most = data.held_out, _most(data)
    training = min(len(data.train) if count is None else count, most)
    at = evenly_spaced(split, min(MOST, most))
    return Reference(quantized(split[at].image), quantized(data.train[:training].image))


def _most(data):
    """Images with NUMBERS elements in total, and at least two, which a covariance requires."""
    return max(2, NUMBERS // math.prod(data.shape))


def cached_features(features: Features, images: np.ndarray, folder: epath.PathLike) -> np.ndarray:
    """The features (N, d) of quantized images, cached in the folder by the digests of the images and the features."""
    if not features.digest:
        return features(images)
    key = digest(images, features.digest)
    path = epath.Path(folder) / f"{features.name}-{key[:16]}.npz"
    if path.exists():
        with suppress(npz.Damaged, KeyError):  # compute them again
            arrays = npz.read(path)
            if str(arrays["key"]) == key:
                return arrays["features"].astype(np.float64)
    found = features(images)
    npz.write(path, key=key, features=found.astype(np.float32))  # the precision of the networks
    return found
