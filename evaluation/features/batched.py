"""A network applied to many images, in batches of one size."""

from collections.abc import Callable

import jax
import numpy as np

from fewstep.train.utils.progress import progress


def batched(network: Callable[[np.ndarray], jax.Array], images: np.ndarray, size: int, name: str) -> np.ndarray:
    """network(images (size, ...)) -> (size, d) for all images (N, ...): (N, d) float64, with progress under `name`.

    The last batch is filled with zeros, so that there is one compilation.
    """
    found = []
    with progress(len(images), unit="images", note=name) as show:
        for start in range(0, len(images), size):
            part = images[start : start + size]
            padded = np.pad(part, ((0, size - len(part)), *[(0, 0)] * (images.ndim - 1)))
            found.append(np.asarray(network(padded), np.float64)[: len(part)])
            show(start + len(part), name)
    return np.concatenate(found)
