"""The names by which pickles make NumPy's arrays, types and numbers, and JAX's arrays."""

import re
from typing import Any

import ml_dtypes
import numpy as np

from fewstep.zoo.files.mapped import Source, quoted
from fewstep.zoo.files.tensors import whole
from fewstep.zoo.files.unpickler import Built, Known

FORM = re.compile(r"[<>|=]?([fiucb?]\d{0,2}|[US][1-9]\d{0,3})")  # numbers, short texts
EXTENDED = {
    f"ml_dtypes.{name}": np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz")
}
SCALARS = (
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool_",
    "bool", "complex64", "complex128",
)  # fmt: skip


class Type(Built):
    """A NumPy type; its state says the order of its bytes."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype

    def build(self, source: Source, state: Any) -> None:
        """(version, order of bytes, no parts, no names, no fields, ...)."""
        match state:
            case (int(), str("<" | ">" | "|" | "=") as order, None, None, None, *_):
                if order == ">" and self.dtype.itemsize > 1:
                    if self.dtype in EXTENDED.values():
                        raise source.damaged(f"is not opened: {self.dtype} of a machine with the high byte first")
                    self.dtype = self.dtype.newbyteorder(">")
            case _:
                raise source.damaged("holds an array of records, which is not opened: save plain arrays")


class Array(Built):
    """An array of NumPy that gets its shape and numbers after it was made."""

    def __init__(self) -> None:
        self.array = np.zeros(0)

    def build(self, source: Source, state: Any) -> None:
        """(version, shape, type, whether the first index is the fastest, bytes)."""
        match state:
            case (int(), tuple(shape), Type() as kind, bool() | int() as fortran, data):
                self.array = _array(source, data, kind, shape, "F" if fortran else "C")
            case _:
                raise _wrong(source, "numpy.ndarray")


def _wrong(source, name):
    return source.damaged(f"is damaged (arguments of {name}): fetch it again")


def _array(source, data, kind, shape, order):
    if isinstance(data, str):  # of Python 2
        source.copy(len(data))
        try:
            data = data.encode("latin1")
        except UnicodeEncodeError:
            data = None
    if not isinstance(data, bytes | memoryview):
        raise source.damaged("holds an array of objects, which is not opened: save arrays of numbers")
    return whole(source, data, kind.dtype, shape, order)


def _type(source, args):
    match args:
        case (str(form), *_) if FORM.fullmatch(form):
            try:
                return Type(np.dtype(form))
            except TypeError:
                pass
        case (Known() as known, *_) if known.name in EXTENDED:
            return Type(EXTENDED[known.name])
        case (Known() as known, *_) if known.name.removeprefix("numpy.") in SCALARS:
            return Type(np.dtype(known.name.removeprefix("numpy.")))
        case (str(form), *_):
            raise source.damaged(f"holds an array of type {quoted(form)}, which is not opened: save arrays of numbers")
    raise _wrong(source, "numpy.dtype")


def _reconstruct(source, args):
    match args:
        case (Known(name="numpy.ndarray"), _, _):
            return Array()
    raise _wrong(source, "numpy._core.multiarray._reconstruct")


def _scalar(source, args):
    match args:
        case (Type() as kind, str() | bytes() | memoryview() as data):
            source.copy(len(data))
            return _array(source, data, kind, (), "C")[()]
    raise _wrong(source, "numpy._core.multiarray.scalar")


def _from_buffer(source, args):
    """An array of protocol 5."""
    match args:
        case (bytes() | memoryview() as data, Type() as kind, tuple(shape), str("C" | "F") as order):
            return whole(source, data, kind.dtype, shape, order)
    raise _wrong(source, "numpy._core.numeric._frombuffer")


def _jax_array(source, args):
    match args:
        case (Known(name="numpy._core.multiarray._reconstruct"), tuple(made), state, *_):
            array = _reconstruct(source, made)
            array.build(source, state)
            return array.array
    raise _wrong(source, "jax._src.array._reconstruct_array")


KNOWN: dict[str, Known] = {
    "numpy.ndarray": Known("numpy.ndarray"),
    "numpy.dtype": Known("numpy.dtype", _type),
    "jax._src.array._reconstruct_array": Known("jax._src.array._reconstruct_array", _jax_array),
    **{name: Known(name) for name in EXTENDED},
    **{f"numpy.{name}": Known(f"numpy.{name}") for name in SCALARS},
}
for _core in ("numpy.core", "numpy._core"):
    KNOWN[f"{_core}.multiarray._reconstruct"] = Known("numpy._core.multiarray._reconstruct", _reconstruct)
    KNOWN[f"{_core}.multiarray.scalar"] = Known("numpy._core.multiarray.scalar", _scalar)
    KNOWN[f"{_core}.numeric._frombuffer"] = Known("numpy._core.numeric._frombuffer", _from_buffer)
