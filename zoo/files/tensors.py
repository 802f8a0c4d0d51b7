"""Storages of torch and the arrays that are views of them."""

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from fewstep.zoo.files.mapped import Source

MOST_DIMENSIONS, MOST_ITEMS = 32, 1 << 48

DTYPES = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8,
    "uint64": np.uint64, "uint32": np.uint32, "uint16": np.uint16, "uint8": np.uint8, "bool": np.bool_,
    "complex64": np.complex64, "complex128": np.complex128,
}  # fmt: skip
"""NumPy's types by their names in torch."""

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip
"""The types of the storage classes of torch."""


@dataclass(frozen=True)
class Storage:
    """Numbers in a row in the file; `data` is None while it is not yet known where."""

    data: memoryview | None
    dtype: np.dtype

    def array(self, source: Source) -> np.ndarray | None:
        """All of it, as one dimension; None while it is not known where."""
        return None if self.data is None else self.strided(source, 0, (len(self.data) // self.dtype.itemsize,), (1,))

    def strided(
        self, source: Source, offset: int, shape: tuple, strides: tuple, dtype: np.dtype | None = None
    ) -> np.ndarray | None:
        """The view of a shape, in which `offset` and `strides` count items; None while the numbers' place is unknown.

        Raises Damaged for a view that leaves the storage, or is larger than it.
        """
        dtype = dtype or self.dtype
        check_shape(source, shape)
        if len(strides) != len(shape) or not all(_is_count(n) for n in (offset, *strides)):
            reason = f"an array from {_numbers((offset,))} on with strides {_numbers(strides)}"
            raise source.damaged(f"is damaged ({reason}): fetch it again")
        if self.data is None:
            return None
        held, count = len(self.data) // dtype.itemsize, math.prod(shape)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if count and (count > held or last >= held):
            reason = f"an array of shape {_numbers(shape)} in a storage of {held}"
            raise source.damaged(f"is damaged ({reason}): fetch it again")
        if not count:
            return np.zeros(shape, dtype)
        return np.ndarray(shape, dtype, self.data, offset * dtype.itemsize, [n * dtype.itemsize for n in strides])


def whole(source: Source, data: memoryview | bytes, dtype: np.dtype, shape: tuple, order: str = "C") -> np.ndarray:
    """The array of a shape that takes all of these bytes; Damaged if it does not."""
    check_shape(source, shape)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise source.damaged(f"is damaged (an array of shape {_numbers(shape)} in {len(data)} bytes): fetch it again")
    return np.ndarray(shape, dtype, data, order="F" if order == "F" else "C") if len(data) else np.zeros(shape, dtype)


def check_shape(source: Source, shape: tuple) -> None:
    """Damaged unless it is a shape of NumPy: so many dimensions, none negative, no absurd number of items."""
    good = len(shape) <= MOST_DIMENSIONS and all(_is_count(n) for n in shape)
    if not good or math.prod(max(n, 1) for n in shape) > MOST_ITEMS:
        raise source.damaged(f"is damaged (an array of shape {_numbers(shape)}): fetch it again")


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _numbers(values):
    """The numbers of a shape for a message; the file may say anything instead."""
    shown = ", ".join(str(n) if isinstance(n, int) and abs(n) < 1 << 64 else "?" for n in values[:8])
    return f"({shown}{', ...' if len(values) > 8 else ''})"
