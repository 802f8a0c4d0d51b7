"""Pretrained encoders: features of images for Frechet distances, with weights from a file of the user.

An architecture is a module: `network(conv, x)` is the forward pass, in which `conv` applies a layer by name; `weights`
reads the arrays of a layer and folds its batch norm; `prepare` resizes and normalizes; `SIZES` are the input sizes, of
which an image gets the first that is larger than the image, otherwise the last; `recognises` identifies its files.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.errors import UsageError
from fewstep.evaluation.features.batched import batched
from fewstep.evaluation.features.encoders import inception, mobilenet_v2, resnet56, squeezenet
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import open_file
from fewstep.train.utils.hashing import arrays_sha256, file_sha256, sha256

ARCHITECTURES: dict[str, Any] = {
    "mobilenet_v2": mobilenet_v2,
    "squeezenet": squeezenet,
    "resnet56": resnet56,
    "inception": inception,
}
PREPROCESSING = 1  # increment when the result of any `prepare` changes, to invalidate cached features
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Encoder:
    """uint8 images (N, H, W, 1 or 3) -> features (N, d) float64, in batches of one size, which compile once."""

    name: str  # that of the architecture; "inception2015" for the original FID weights
    architecture: str
    classes: int  # 0: no classifier head
    weights: str  # sha256 of the arrays
    params: dict = field(repr=False, compare=False)  # layer -> kernel (HWIO), bias (O,)
    size: int | None = None  # side that images are resized to; None: chosen from SIZES
    batch: int = 64

    @property
    def digest(self) -> str:
        """SHA-256 of everything the features depend on besides the images."""
        sizes = self.size or ARCHITECTURES[self.architecture].SIZES
        return sha256(f"{self.architecture} {PREPROCESSING} {sizes} {self.weights}".encode())

    def side(self, images: np.ndarray | jax.Array) -> int:
        """The side that images (N, H, W, C) are resized to."""
        sizes = ARCHITECTURES[self.architecture].SIZES
        return self.size or next((size for size in sizes if max(images.shape[1:3]) < size), sizes[-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images, 0)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 1 or 3) -> (N, classes) float64; raises UsageError for an encoder without a head."""
        if not self.classes:
            raise UsageError(f"{self.name} has no classifier head: use mobilenet_v2 or resnet56 for logits")
        return self._run(images, 1)

    def apply(self, params: Any, pixels: jax.Array) -> jax.Array:
        """The features (B, d) of pixels from 0 to 255, as JAX traces them."""
        return _apply(self.architecture, self.side(pixels), params, pixels)[0]

    def _run(self, images, output):
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
            got = f"{images.dtype} {images.shape}"
            raise UsageError(f"an encoder requires uint8 images (N, H, W, 1 or 3), N of at least 1: got {got}")
        size = self.side(images)
        return batched(
            lambda part: _apply(self.architecture, size, self.params, part)[output], images, self.batch, self.name
        )


@partial(jax.jit, static_argnums=(0, 1))
def _apply(name, size, params, images):
    x = jnp.broadcast_to(images.astype(jnp.float32), (*images.shape[:3], 3))
    architecture = ARCHITECTURES[name]
    return architecture.network(partial(convolve, params), architecture.prepare(x, size))


def convolve(
    params: Mapping[str, tuple],
    layer: str,
    x: jax.Array,
    channels: int,
    kernel: int | tuple,
    stride: int = 1,
    padding: Any = "SAME",
    depthwise: bool = False,
) -> jax.Array:
    """One convolution of x (N, H, W, C) in full float32; `channels` and `kernel` (one or two sides) serve `shapes`."""
    weight, bias = params[layer]
    if depthwise:
        return _depthwise(x, weight, stride) + bias
    options: dict[str, Any] = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "precision": "highest"}
    return jax.lax.conv_general_dilated(x, weight, (stride, stride), padding, **options) + bias


def _depthwise(x, kernel, stride):
    """A depthwise convolution with a kernel (H, W, 1, C) and "SAME" padding, as a sum of shifted images.

    XLA's grouped convolution is 20 times slower on CPU.
    """
    sides = x.shape[1:3]
    pads = jax.lax.padtype_to_pads(sides, kernel.shape[:2], (stride, stride), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = ((-(-side // stride) - 1) * stride + 1 for side in sides)
    return sum(
        kernel[i, j, 0] * x[:, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(kernel.shape[:2])
    )


def shapes(architecture: Any) -> dict[str, tuple]:
    """Layer -> kernel shape (HWIO), from an abstract forward pass."""
    found = {}

    def conv(layer, x, channels, kernel, stride=1, padding="SAME", depthwise=False):
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        found[layer] = (height, width, 1 if depthwise else x.shape[-1], channels)
        params = {layer: (jnp.zeros(found[layer]), jnp.zeros(channels))}
        return convolve(params, layer, x, channels, kernel, stride, padding, depthwise)

    side = architecture.SIZES[0]
    jax.eval_shape(partial(architecture.network, conv), jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
    return found


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name -> array of a .npz file or a .pth file (PyTorch state dict); raises UsageError if it cannot be read."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file: give the path of the weights of an encoder, .npz or .pth")
    try:
        if path.suffix == ".pth":
            import torch  # pyright: ignore[reportMissingImports]

            with open_file(path) as file:
                state = torch.load(file, map_location="cpu", weights_only=True)
            return {name: tensor.numpy() for name, tensor in state.items()}
        return npz.read(path)
    except ImportError as error:
        raise UsageError(
            f"{path}: reading a .pth file requires torch: pip install 'fewstep[torch]', or convert it to .npz"
        ) from error
    except Damaged as error:
        raise UsageError(f"{error}: download it again") from error
    except Exception as error:  # pickle and torch each raise their own
        raise UsageError(
            f"{path}: damaged or not a file of arrays ({type(error).__name__}): download it again"
        ) from error


def load(path: str | os.PathLike, size: int | None = None) -> Encoder:
    """The encoder of a file of weights, .npz or pytorch-fid's .pth; the names of the arrays determine the architecture.

    Reference activations in the file (ref/images with ref/feature, ref/logits, or these with _<size>) are verified at
    the encoder's size.  Raises UsageError for an invalid file or if the activations are not reproduced.
    """
    arrays = read_arrays(path)
    name = next((name for name, architecture in ARCHITECTURES.items() if architecture.recognises(arrays)), None)
    if name is None:
        raise UsageError(
            f"{path}: not the weights of {', '.join(ARCHITECTURES)} (inception: that of the FID, with no or 1,008 "
            "classes): none of them has arrays of these names"
        )
    architecture, used = ARCHITECTURES[name], {}

    def read(array, shape):
        if array not in arrays:
            raise UsageError(f"{path}: {array} is missing from these weights of {name}: use the complete file")
        if arrays[array].shape != shape:
            raise UsageError(
                f"{path}: {array} has shape {arrays[array].shape}, {name} requires {shape}: use another file"
            )
        used[array] = arrays[array]
        return np.asarray(arrays[array], np.float64)

    folded = {layer: architecture.weights(read, layer, shape) for layer, shape in shapes(architecture).items()}
    params = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), folded)
    published = "inception2015" if file_sha256(Path(path)) == inception.FID else name
    encoder = Encoder(published, name, architecture.CLASSES, arrays_sha256(used), params, size)
    for reference, error in errors(encoder, arrays).items():
        if not error <= TOLERANCE:
            raise UsageError(
                f"{path}: {reference} is not reproduced (relative error {error:.1e}, at most {TOLERANCE:.0e}): "
                "the weights are damaged, or this device computes with less precision than float32"
            )
    return encoder


def errors(encoder: Encoder, arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Reference -> max |difference| / max |reference|, for the references at the input size of the encoder."""
    if "ref/images" not in arrays:
        return {}
    images, found = np.asarray(arrays["ref/images"]), {}
    outputs = {"feature": encoder} | ({"logits": encoder.logits} if encoder.classes else {})
    for kind, output in outputs.items():
        for name in (f"ref/{kind}", f"ref/{kind}_{encoder.side(images)}"):
            if name in arrays:
                want, got = np.asarray(arrays[name]), output(images)
                same = want.shape == got.shape
                found[name] = float(np.abs(got - want).max() / np.abs(want).max()) if same else np.inf
    return found
