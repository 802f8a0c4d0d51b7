"""Files of flax: msgpack of `flax.serialization`, which is also what `flax.training.checkpoints` wrote before Orbax."""

import math
from typing import Any

import numpy as np

from fewstep.train.utils.memory import amount, free_memory
from fewstep.zoo.files.mapped import Source, contents, quoted
from fewstep.zoo.files.packed import Decoder
from fewstep.zoo.files.tensors import DTYPES, check_shape, whole

# Extensions of flax, and of Orbax 0.4.4, which writes tuples as lists unless they are empty (EmptyState() of optax).
ARRAY, COMPLEX, SCALAR, TUPLE = 1, 2, 3, 4
CHUNKED = "__msgpack_chunked_array__"  # an array of more than 1 GiB, in several


def read(path: Any) -> Any:
    """The value in a msgpack file of flax: dicts, lists, numbers, texts and arrays; raises Damaged.

    Arrays are views of the file; those that are in several parts (of 1 GiB each) are joined in memory.
    """
    return read_source(contents(path))


def read_source(source: Source) -> Any:
    """`read` of bytes that are at hand."""

    def extension(code, data):
        return _extension(source, code, data)

    decoder = Decoder(source, extension)
    value = decoder.value()
    if decoder.at != len(source.data):
        raise source.damaged(f"is damaged ({len(source.data) - decoder.at} bytes after its end): fetch it again")
    return _joined(source, value)


def _extension(source, code, data):
    inner = source._replace(data=data)
    decoder = Decoder(inner, lambda code, data: _refuse(source, code))
    match code, decoder.value():
        case 1 | 3, [list(shape), str() | memoryview() as name, numbers]:
            name = name if isinstance(name, str) else bytes(name[:20]).decode("latin1")
            if name not in DTYPES:
                raise source.damaged(f"holds an array of {quoted(name)}, which is not opened: save arrays of numbers")
            numbers = numbers.encode() if isinstance(numbers, str) else numbers
            if isinstance(numbers, bytes | memoryview):
                array = whole(source, numbers, np.dtype(DTYPES[name]), tuple(shape))
                return array if code == ARRAY else array[()]
        case 2, [float(real), float(imaginary)]:
            return complex(real, imaginary)
        case 4, []:
            return ()
        case _:
            pass
    return _refuse(source, code)


def _refuse(source, code):
    known = code in (ARRAY, COMPLEX, SCALAR, TUPLE)
    raise source.damaged(
        "is damaged (an array that is none): fetch it again" if known
        else f"is not opened: MessagePack with the extension {code}, which is none of flax"
    )  # fmt: skip


def _joined(source, value):
    """The value with arrays in place of their parts, and bytes in place of views."""
    match value:
        case {"__msgpack_chunked_array__": _, "shape": dict(shape), "chunks": dict(chunks)}:
            return _one_array(source, _in_order(source, shape), _in_order(source, chunks))
        case dict():
            return {key: _joined(source, inner) for key, inner in value.items()}
        case list():
            return [_joined(source, inner) for inner in value]
        case memoryview():
            source.copy(len(value))
            return bytes(value)
    return value


def _in_order(source, parts):
    if set(parts) != {str(i) for i in range(len(parts))}:
        raise source.damaged("is damaged (parts of an array are missing): fetch it again")
    return [parts[str(i)] for i in range(len(parts))]


def _one_array(source, shape, chunks):
    check_shape(source, tuple(shape))
    same = all(isinstance(chunk, np.ndarray) and chunk.ndim == 1 and chunk.dtype == chunks[0].dtype for chunk in chunks)
    if not chunks or not same or sum(chunk.size for chunk in chunks) != math.prod(shape):
        raise source.damaged(f"is damaged (parts of an array of {len(shape)} dimensions): fetch it again")
    size = sum(chunk.nbytes for chunk in chunks)
    if size > (free := free_memory()):
        raise source.damaged(f"holds an array of {amount(size)}, and {amount(free)} of memory are free")
    return np.concatenate(chunks).reshape(shape)
