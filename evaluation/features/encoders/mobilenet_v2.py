"""MobileNetV2 1.0 for ImageNet (arXiv:1801.04381), int8 weights run in float32: 1,280 features, 1,001 logits."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.nn import relu6

CLASSES = 1001  # class 0 is background
SIZES = (128, 224)

CHANNELS = (16, *2 * [24], *3 * [32], *4 * [64], *3 * [96], *3 * [160], 320)  # of block1 ... block17
STRIDED = (2, 4, 7, 14)


def recognises(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file's arrays are this architecture's."""
    return "stem/kernel_int8" in arrays


def weights(
    read: Callable[[str, tuple[int, ...]], np.ndarray], layer: str, shape: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (HWIO) and bias of a layer; the integers have one scale an output channel, batch norm is folded in."""
    kernel = read(f"{layer}/kernel_int8", shape)
    return kernel * read(f"{layer}/scale", shape[-1:]), read(f"{layer}/bias", shape[-1:])


def prepare(x: jax.Array, size: int) -> jax.Array:
    """x (N, H, W, 3) in 0 to 255 -> (N, size, size, 3) in [-1, 1]; bilinear, half-pixel centres."""
    return jax.image.resize(x, (len(x), size, size, 3), "bilinear") / 127.5 - 1


def network(conv: Callable[..., jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x (N, s, s, 3) -> features (N, 1280), logits (N, 1001)."""
    x = relu6(conv("stem", x, 32, 3, stride=2))
    for block, channels in enumerate(CHANNELS, 1):
        x = _inverted_residual(conv, f"block{block}", x, channels, expand=block > 1, stride=1 + (block in STRIDED))
    features = relu6(conv("last", x, 1280, 1)).mean((1, 2))
    return features, conv("head", features[:, None, None], CLASSES, 1)[:, 0, 0]


def _inverted_residual(conv, name, x, channels, *, expand, stride):
    wide = relu6(conv(f"{name}/expand", x, 6 * x.shape[-1], 1)) if expand else x
    wide = relu6(conv(f"{name}/depthwise", wide, wide.shape[-1], 3, stride=stride, depthwise=True))
    out = conv(f"{name}/project", wide, channels, 1)
    return x + out if x.shape == out.shape else out
