"""safetensors: a header in JSON, and arrays one after the other (https://github.com/huggingface/safetensors)."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from fewstep.errors import UsageError
from fewstep.train.utils.files import write_atomic
from fewstep.zoo.files.mapped import Source, contents, quoted
from fewstep.zoo.files.tensors import whole

METADATA = "__metadata__"
MOST_HEADER = 16 << 20  # bytes, about 150,000 arrays; the library allows 100 MB, of which Python's JSON makes gigabytes
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_, "C64": np.complex64,
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def read(path: epath.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, as views of the file; raises Damaged."""
    return read_source(contents(path))


def metadata(path: epath.PathLike) -> dict[str, str]:
    """What the file says about itself: its `__metadata__`, {} if there is none; raises Damaged."""
    return _header(contents(path))[0]


def read_source(source: Source) -> dict[str, np.ndarray]:
    """`read` of bytes that are at hand."""
    _, entries, start = _header(source)
    arrays, end = {}, 0
    for name, (dtype, shape, first, last) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
        if first != end:
            raise source.damaged(f"is damaged (a gap or an overlap before {quoted(name)}): fetch it again")
        arrays[name] = whole(source, source.part(start + first, last - first), dtype, shape)
        end = last
    if start + end != len(source.data):
        raise source.damaged(f"is damaged ({len(source.data) - start - end} bytes after its arrays): fetch it again")
    return {name: arrays[name] for name in entries}


def _header(source):
    """(metadata, {name: (dtype, shape, first, last byte)}, where the arrays start)."""
    size = int.from_bytes(source.part(0, 8), "little")
    if size > MOST_HEADER:
        raise source.damaged(f"is not opened: it claims a header of {size} bytes, and {MOST_HEADER} are the most")
    data = source.part(8, size)
    try:
        said = json.loads(str(data, "utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_refuse)
    except RecursionError:
        raise source.damaged("is damaged (a header of too many brackets): fetch it again") from None
    except ValueError:
        raise source.damaged("is damaged (its header is no JSON, or names an array twice): fetch it again") from None
    if not isinstance(said, dict):
        raise source.damaged("is damaged (its header is no list of arrays): fetch it again")
    about = said.pop(METADATA, None) or {}
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise source.damaged(f"is damaged (its {METADATA}): fetch it again")
    return about, {name: _entry(source, name, entry) for name, entry in said.items()}, 8 + size


def _entry(source, name, entry):
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(first), int(last)]} if len(entry) == 3:
            if kind not in DTYPES:
                raise source.damaged(f"holds {quoted(name)} of type {quoted(kind)}, which is not opened: convert it")
            if 0 <= first <= last:
                return np.dtype(DTYPES[kind]), tuple(shape), first, last
    raise source.damaged(f"is damaged (what it says about {quoted(name)}): fetch it again")


def _unique(pairs):
    made = dict(pairs)
    return made if len(made) == len(pairs) else _refuse(None)


def _refuse(text):
    raise ValueError(text)


def encode(arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """The pieces of a safetensors file: its header, then one array after the other.

    arrays: of NumPy or JAX, by name; each is fetched from its device and made contiguous only when its turn comes.
    Raises UsageError for a type that the format does not have.
    """
    sizes, dtypes = {}, {name: _little(np.dtype(array.dtype)) for name, array in arrays.items()}
    for name, dtype in dtypes.items():
        if dtype not in NAMES or name == METADATA:
            raise UsageError(f"safetensors has no array {name!r} of type {dtype}: convert it, or leave it out")
        sizes[name] = dtype.itemsize * math.prod(arrays[name].shape)
    order = sorted(arrays, key=lambda name: (-dtypes[name].itemsize, name))  # so that each is aligned
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        first, end = end, end + sizes[name]
        header[name] = {"dtype": NAMES[dtypes[name]], "shape": list(arrays[name].shape), "data_offsets": [first, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield _bytes(arrays[name], dtypes[name])


def _bytes(array, dtype):
    return np.ascontiguousarray(np.asarray(array), dtype).reshape(-1).view(np.uint8).data


def _little(dtype):
    return dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype


def write(path: epath.PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically, one array at a time; an OSError carries the file name."""
    write_atomic(path, encode(arrays, metadata))
