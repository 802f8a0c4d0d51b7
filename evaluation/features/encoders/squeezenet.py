"""SqueezeNet 1.1 for ImageNet without its classifier (arXiv:1602.07360): 512 features."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.nn import relu

CLASSES = 0
SIZES = (128, 224)

MEAN_BGR = (103.939, 116.779, 123.68)
# (squeezed, expanded) channels of the fire modules between two max-pools; they are numbered from 2.
FIRES = (2 * [(16, 64)], 2 * [(32, 128)], [*2 * [(48, 192)], *2 * [(64, 256)]])


def recognises(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file's arrays are this architecture's."""
    return "conv1/kernel" in arrays


def weights(
    read: Callable[[str, tuple[int, ...]], np.ndarray], layer: str, shape: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (HWIO) and bias of a layer."""
    return read(f"{layer}/kernel", shape), read(f"{layer}/bias", shape[-1:])


def prepare(x: jax.Array, size: int) -> jax.Array:
    """x (N, H, W, 3) RGB in 0 to 255 -> (N, size, size, 3) BGR less the mean; bilinear, half-pixel centres."""
    return jax.image.resize(x, (len(x), size, size, 3), "bilinear")[..., ::-1] - jnp.array(MEAN_BGR, jnp.float32)


def network(conv: Callable[..., jax.Array], x: jax.Array) -> tuple[jax.Array, None]:
    """x (N, s, s, 3) -> features (N, 512), None."""
    x = relu(conv("conv1", x, 64, 3, stride=2, padding="VALID"))
    number = 2
    for fires in FIRES:
        x = nnx.max_pool(x, (3, 3), strides=(2, 2))
        for squeezed, expanded in fires:
            x = _fire(conv, f"fire{number}", x, squeezed, expanded)
            number += 1
    return x.mean((1, 2)), None


def _fire(conv, name, x, squeezed, expanded):
    x = relu(conv(f"{name}/squeeze1x1", x, squeezed, 1))
    wide = [conv(f"{name}/expand{k}x{k}", x, expanded, k) for k in (1, 3)]
    return relu(jnp.concatenate(wide, -1))
