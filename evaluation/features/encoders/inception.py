"""The network of the FID (arXiv:1706.08500): Inception-v3 (arXiv:1512.00567) of 2015-12-05, 2,048 features (pool3).

Arrays have the names of pytorch-fid's state dict, kernels are OIHW.  Two things differ from torchvision's Inception-v3,
whose names and shapes are the same but for the number of classes: average pools leave out the padding, and the last
block pools by maximum.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.nn import relu

CLASSES = 0
SIZES = (299,)
# sha256 of pytorch-fid's and torch-fidelity's file, pt_inception-2015-12-05-6726825d.pth: the FID is of these alone.
FID = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def recognises(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file's arrays are this architecture's; a classifier that is not of 1,008 classes is torchvision's."""
    return "Conv2d_1a_3x3.conv.weight" in arrays and len(arrays.get("fc.bias", range(1008))) == 1008


def weights(
    read: Callable[[str, tuple[int, ...]], np.ndarray], layer: str, shape: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (HWIO) and bias of a layer, its batch norm (epsilon 1e-3) folded in."""
    height, width, inputs, outputs = shape
    kernel = read(f"{layer}.conv.weight", (outputs, inputs, height, width)).transpose(2, 3, 1, 0)
    names = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, var = (read(f"{layer}.bn.{name}", (outputs,)) for name in names)
    scale = gamma / np.sqrt(var + 1e-3)
    return kernel * scale, beta - mean * scale


def prepare(x: jax.Array, size: int) -> jax.Array:
    """x (N, H, W, 3) in 0 to 255 -> (N, size, size, 3) in [-1, 1)."""
    return (tf1_bilinear(tf1_bilinear(x, 2, size), 1, size) - 128) / 128


def tf1_bilinear(x: jax.Array, axis: int, size: int) -> jax.Array:
    """One axis of x to `size` as TensorFlow 1 resizes: pixel i is read at i * in / size, without antialiasing."""
    count = x.shape[axis]
    at = np.arange(size, dtype=np.float32) * np.float32(count / size)
    low = at.astype(int)
    weight = np.expand_dims(at - low.astype(np.float32), [d for d in range(x.ndim) if d != axis])
    left, right = (jnp.take(x, np.minimum(i, count - 1), axis) for i in (low, low + 1))
    return left + (right - left) * weight


def network(conv: Callable[..., jax.Array], x: jax.Array) -> tuple[jax.Array, None]:
    """x (N, 299, 299, 3) -> features (N, 2048), None."""
    stem = partial(_layer, conv, "Conv2d_")
    x = stem("1a_3x3", x, 32, 3, 2)
    x = stem("2a_3x3", x, 32, 3, padding="VALID")
    x = _halved(stem("2b_3x3", x, 64, 3))
    x = stem("3b_1x1", x, 80, 1)
    x = _halved(stem("4a_3x3", x, 192, 3, padding="VALID"))
    for block, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
        x = _squares(partial(_layer, conv, f"Mixed_{block}."), x, pooled)
    x = _first_reduction(partial(_layer, conv, "Mixed_6a."), x)
    for block, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        x = _lines(partial(_layer, conv, f"Mixed_{block}."), x, inner)
    x = _second_reduction(partial(_layer, conv, "Mixed_7a."), x)
    for block, pool in (("7b", _average), ("7c", _maximum)):
        x = _forks(partial(_layer, conv, f"Mixed_{block}."), x, pool)
    return x.mean((1, 2)), None


def _layer(conv, prefix, name, x, channels, kernel, stride=1, padding=None):
    return relu(conv(prefix + name, x, channels, kernel, stride, padding or ("SAME" if stride == 1 else "VALID")))


def _row(layer, name, x, *layers):
    """Layers (channels, kernel[, stride]) one after the other: name_1, name_2, ..."""
    for number, options in enumerate(layers, 1):
        x = layer(f"{name}_{number}", x, *options)
    return x


def _join(*branches):
    return jnp.concatenate(branches, -1)


def _halved(x):
    return nnx.max_pool(x, (3, 3), strides=(2, 2))


def _average(x):
    return nnx.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _maximum(x):
    return nnx.max_pool(x, (3, 3), padding="SAME")


def _squares(layer, x, pooled):
    return _join(
        layer("branch1x1", x, 64, 1),
        _row(layer, "branch5x5", x, (48, 1), (64, 5)),
        _row(layer, "branch3x3dbl", x, (64, 1), (96, 3), (96, 3)),
        layer("branch_pool", _average(x), pooled, 1),
    )


def _first_reduction(layer, x):
    return _join(
        layer("branch3x3", x, 384, 3, 2),
        _row(layer, "branch3x3dbl", x, (64, 1), (96, 3), (96, 3, 2)),
        _halved(x),
    )


def _lines(layer, x, inner):
    across, down = (1, 7), (7, 1)
    double = (inner, 1), (inner, down), (inner, across), (inner, down), (192, across)
    return _join(
        layer("branch1x1", x, 192, 1),
        _row(layer, "branch7x7", x, (inner, 1), (inner, across), (192, down)),
        _row(layer, "branch7x7dbl", x, *double),
        layer("branch_pool", _average(x), 192, 1),
    )


def _second_reduction(layer, x):
    return _join(
        _row(layer, "branch3x3", x, (192, 1), (320, 3, 2)),
        _row(layer, "branch7x7x3", x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
        _halved(x),
    )


def _forks(layer, x, pool):
    single = _row(layer, "branch3x3", x, (384, 1))
    double = _row(layer, "branch3x3dbl", x, (448, 1), (384, 3))
    return _join(
        layer("branch1x1", x, 320, 1),
        layer("branch3x3_2a", single, 384, (1, 3)),
        layer("branch3x3_2b", single, 384, (3, 1)),
        layer("branch3x3dbl_3a", double, 384, (1, 3)),
        layer("branch3x3dbl_3b", double, 384, (3, 1)),
        layer("branch_pool", pool(x), 192, 1),
    )
