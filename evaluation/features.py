"""What distances are computed on; a metric is named after its features."""

import numpy as np

from train.pictures import to_uint8


def pixels(images) -> np.ndarray:
    """Images (N, H, W, C) in [-1, 1] -> (N, H W C) float64: 8-bit pixels over 255; points (N, d) unchanged."""
    images = np.asarray(images)
    if images.ndim == 4:
        images = to_uint8(images) / 255
    return images.reshape(len(images), -1).astype(np.float64)


def kind(images) -> str:
    """What metrics on `pixels` of these are named after."""
    return "pixels" if images.ndim == 4 else "points"
