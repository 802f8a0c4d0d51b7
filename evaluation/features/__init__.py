"""Features of images on which distances are computed."""

from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from fewstep.train.logs.images import to_uint8


class Features(Protocol):
    """Quantized images (N, ...) -> features (N, d) in float64.

    Features with classes > 0 come from a classifier, and are `Classifying`.
    """

    @property
    def name(self) -> str:
        """The suffix of the names of metrics."""
        ...

    @property
    def digest(self) -> str:
        """A digest of everything they depend on besides the images; empty for cheap features, which are not cached."""
        ...

    @property
    def classes(self) -> int:
        """The number of classes of their classifier; 0 without one."""
        ...

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class Classifying(Features, Protocol):
    """Features of a classifier."""

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Quantized images (N, ...) -> (N, classes)."""
        ...


class Differentiable(Features, Protocol):
    """Features that can be trained on."""

    @property
    def params(self) -> Any:
        """The parameters of their network."""
        ...

    def apply(self, params: Any, pixels: jax.Array) -> jax.Array:
        """The features (B, d) of images whose pixels are floats from 0 to 255, (B, H, W, C), as JAX traces them."""
        ...


class Pixels:
    """uint8 pixels divided by 255, or for data that are not images the values themselves, named "points"."""

    digest, classes, params = "", 0, ()

    def __init__(self, shape: tuple):
        self.name = "pixels" if len(shape) == 3 else "points"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = images / 255 if images.dtype == np.uint8 else images
        return images.reshape(len(images), -1).astype(np.float64)

    def apply(self, params: Any, pixels: jax.Array) -> jax.Array:
        """The features of pixels from 0 to 255, or of points, as JAX traces them."""
        return (pixels / 255 if pixels.ndim == 4 else pixels).reshape(len(pixels), -1)


def quantized(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) in [-1, 1] as uint8, on which all metrics are computed; points (N, d) as float32."""
    return to_uint8(images) if np.ndim(images) == 4 else np.asarray(images, np.float32)
