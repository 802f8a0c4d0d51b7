"""ResNet-56 for CIFAR-10 (arXiv:1512.03385 sec. 4.2): 64 features, 10 logits."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu

CLASSES = 10
SIZES = (32,)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PADDING = ((1, 1), (1, 1))


def recognises(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file's arrays are this architecture's."""
    return "stem/kernel" in arrays


def weights(
    read: Callable[[str, tuple[int, ...]], np.ndarray], layer: str, shape: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (HWIO) and bias of a layer, its batch norm (epsilon 1e-5) folded in."""
    if layer == "head":
        return read("head/kernel", shape[2:]).reshape(shape), read("head/bias", shape[3:])
    gamma, beta, mean, var = (read(f"{layer}/{name}", shape[3:]) for name in ("gamma", "beta", "mean", "var"))
    scale = gamma / np.sqrt(var + 1e-5)
    return read(f"{layer}/kernel", shape) * scale, beta - mean * scale


def prepare(x: jax.Array, size: int) -> jax.Array:
    """x (N, H, W, 3) in 0 to 255 -> (N, size, size, 3) over ImageNet's standard deviation, less its mean."""
    x = jax.image.resize(x, (len(x), size, size, 3), "bilinear")
    return (x / 255 - jnp.array(MEAN, jnp.float32)) / jnp.array(STD, jnp.float32)


def network(conv: Callable[..., jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x (N, 32, 32, 3) -> features (N, 64), logits (N, 10)."""
    x = relu(conv("stem", x, 16, 3, padding=PADDING))
    for stage, channels in enumerate((16, 32, 64), 1):
        for block in range(9):
            x = _residual(conv, f"stage{stage}/block{block}", x, channels)
    features = x.mean((1, 2))
    return features, conv("head", features[:, None, None], CLASSES, 1)[:, 0, 0]


def _residual(conv, name, x, channels):
    stride = channels // x.shape[-1]
    out = relu(conv(f"{name}/conv1", x, channels, 3, stride=stride, padding=PADDING))
    out = conv(f"{name}/conv2", out, channels, 3, padding=PADDING)
    if stride == 2:
        x = jnp.pad(x[:, ::2, ::2], (*3 * [(0, 0)], 2 * (channels // 4,)))
    return relu(x + out)
