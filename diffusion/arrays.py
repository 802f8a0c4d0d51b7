"""Array helpers that work on the host (NumPy, float64) and on the device (JAX) alike: module lookup, broadcasting of
times, pooling and repeating of pixels."""

from typing import Any, TypeVar

import jax
import numpy as np

from fewstep.errors import UsageError

AnyArray = np.ndarray | jax.Array
Number = float | np.ndarray | jax.Array
# Functions of a Number return the kind they are given: a float, a NumPy array or a JAX array.
NumberT = TypeVar("NumberT", float, np.ndarray, jax.Array, Number)
ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array, AnyArray)


def namespace(*arrays: Any) -> Any:
    """The array module of the first JAX or NumPy array among the arguments; NumPy if all are plain numbers."""
    for a in arrays:
        if hasattr(a, "__array_namespace__"):
            return a.__array_namespace__()
    return np


def over(t: Number, x: AnyArray) -> Any:
    """t, a number or (B,), reshaped to broadcast against x (B, ...)."""
    xp = namespace(t, x)
    return xp.reshape(xp.asarray(t), (-1,) + (1,) * (x.ndim - 1)) if xp.ndim(t) else t


def constant(x: ArrayT) -> ArrayT:
    """x without derivatives."""
    return jax.lax.stop_gradient(x) if isinstance(x, jax.Array) else x


def check_output(found: Any, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raises UsageError unless what a network returned for x of this shape is an array of the shape `wanted`."""
    if getattr(found, "shape", None) != wanted:
        what = tuple(found.shape) if hasattr(found, "shape") else f"a {type(found).__name__}"
        more = "" if wanted == shape else ", because the last axis has the second output, of the variance, as well"
        raise UsageError(f"the network returned {what} for x {shape}: it must return an array {wanted}{more}")


def pooled(x: ArrayT, m: int) -> Any:
    """(B, H, W, C) -> (B, H/m, W/m, C): means over m x m pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // m, m, w // m, m, c).mean(axis=(2, 4))


def repeated(x: ArrayT, m: int) -> ArrayT:
    """(B, H, W, C) -> (B, mH, mW, C): each pixel repeated m x m times; pooled(repeated(x, m), m) = x."""
    b, h, w, c = x.shape
    return namespace(x).broadcast_to(x[:, :, None, :, None], (b, h, m, w, m, c)).reshape(b, m * h, m * w, c)
