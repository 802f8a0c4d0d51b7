"""What distances are computed on; a metric is named after its features."""

from typing import Protocol

import numpy as np

from fewstep.train.logs.images import to_uint8


class Features(Protocol):
    """Images as they are stored (N, ...) -> features (N, d) in float64."""

    name: str  # metrics are named after it
    digest: str  # of all that they depend on beside the images; empty where they cost nothing, and are never kept
    classes: int  # of the classifier that they come from, whose `logits` are (N, classes); 0 where there is none

    def __call__(self, images) -> np.ndarray: ...


class Pixels:
    """Pixels over 255; of what is no image, the numbers themselves, as "points"."""

    digest, classes = "", 0

    def __init__(self, shape):
        self.name = "pixels" if len(shape) == 3 else "points"

    def __call__(self, images):
        images = images / 255 if images.dtype == np.uint8 else images
        return images.reshape(len(images), -1).astype(np.float64)


def quantized(images) -> np.ndarray:
    """Images (N, H, W, C) in [-1, 1] as a file would hold them, uint8: all is measured on those.  Points (N, d) as they
    are, in float32."""
    return to_uint8(images) if np.ndim(images) == 4 else np.asarray(images, np.float32)
