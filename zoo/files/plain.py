"""What a file holds as plain values: all containers and records made anew, and no more of them than there may be."""

from typing import Any, NamedTuple

import numpy as np

from fewstep.zoo.files.mapped import MOST_STEPS, Source
from fewstep.zoo.files.numpy_names import Array, Type
from fewstep.zoo.files.records import Namespace, Persistent
from fewstep.zoo.files.tensors import Storage
from fewstep.zoo.files.unpickler import Known

DEEPEST = 200
SHARED = 16  # times the size of the file: arrays may be named several times in it, but not without end


class Made(NamedTuple):
    """A plain value, and how many values and bytes of arrays a walk through it meets."""

    value: Any
    values: int
    size: int


def plain(value: Any, source: Source) -> Any:
    """The value with its arrays, containers and records; what was named twice in the file is one object here as well.

    Raises Damaged for a value that contains itself, is too deep, or takes too long to walk through.
    """
    made: dict[int, Made] = {}
    within: set[int] = set()
    most = SHARED * len(source.data) + (1 << 20)

    def convert(value, depth):
        if isinstance(value, bool | int | float | complex | str | bytes | np.generic | None):
            return Made(value, 1, 0)
        if id(value) in made:
            return made[id(value)]
        if depth > DEEPEST or id(value) in within:
            raise source.damaged("is not opened: its values contain each other without end, as no weights do")
        within.add(id(value))
        inner = [convert(one, depth + 1) for one in _inner(value)]
        within.remove(id(value))
        new = _again(value, [one.value for one in inner], source)
        size = new.nbytes if isinstance(new, np.ndarray) else sum(one.size for one in inner)
        count = 1 + sum(one.values for one in inner)
        if count > MOST_STEPS or size > most:
            raise source.damaged("is not opened: its values repeat each other without end, as no weights do")
        made[id(value)] = Made(new, count, size)
        return made[id(value)]

    return convert(value, 0).value


def _inner(value):
    match value:
        case dict():
            return value.values()
        case list() | tuple():
            return value
        case Namespace():
            return value.values.values()
        case Persistent():
            return value.state.values()
    return ()


def _again(value, inner, source):
    """The value with other values in it."""
    match value:
        case dict():
            return dict(zip(value, inner, strict=True))
        case list() | tuple():
            return type(value)(inner)
        case Namespace():
            return Namespace(dict(zip(value.values, inner, strict=True)))
        case Persistent():
            return Persistent(value.class_name, value.source, dict(zip(value.state, inner, strict=True)))
        case Array():
            return value.array
        case Storage():
            return value.array(source)
        case Type():
            return str(value.dtype)
        case Known():
            return value.name
        case memoryview():
            source.copy(len(value))
            return bytes(value)
        case set() | frozenset() | np.ndarray():
            return value
    raise TypeError(type(value))
