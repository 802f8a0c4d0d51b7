"""Files of torch.save without torch: the zip form, the legacy form (before 1.6), and plain pickles such as EDM's."""

from typing import Any

import numpy as np

from fewstep.zoo.files.archive import Archive
from fewstep.zoo.files.mapped import Source, contents, quoted
from fewstep.zoo.files.names import find, storage_dtype
from fewstep.zoo.files.plain import plain
from fewstep.zoo.files.tensors import Storage
from fewstep.zoo.files.unpickler import Known, Unpickler

ZIP = b"PK"
MAGIC = 0x1950A86A20F9469CFC6C  # the number that a legacy file begins with, in a pickle of its own
VERSION = 1001
LEGACY = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
LOAD_FROM_BYTES = "torch.storage._load_from_bytes"
MOST_PICKLE = 256 << 20  # bytes of data.pkl, which holds no numbers


def read(path: Any) -> Any:
    """The value in a file of torch.save or pickle.dump; raises Damaged.

    Arrays are views of the file, read where they are used.
    """
    return read_source(contents(path))


def read_source(source: Source) -> Any:
    """`read` of bytes that are at hand."""
    start = bytes(source.data[: len(LEGACY)])
    if start.startswith(ZIP):
        value = _zip(source)
    elif start == LEGACY:
        value = _legacy(source)
    else:
        value = _pickle(source)
    return plain(value, source)


def _zip(source):
    archive = Archive(source)
    folder = archive.folder_of("data.pkl")
    if f"{folder}constants.pkl" in archive:
        raise source.damaged("is a program of torch.jit.save, not weights: save its state_dict() with torch.save")
    if f"{folder}byteorder" in archive and bytes(archive.read(f"{folder}byteorder")) != b"little":
        raise source.damaged("is of a machine with the high byte first: save it again on another one")
    storages: dict[tuple, Storage] = {}

    def storage(name):
        match name:
            case (str("storage"), Known() as kind, str(key), _, int(count), *_) if dtype := storage_dtype(kind):
                if (key, dtype) not in storages:
                    member = f"{folder}data/{key}"
                    if member not in archive:
                        raise source.damaged(f"is damaged (no {quoted(member)} in it): fetch it again")
                    storages[key, dtype] = Storage(archive.read(member), dtype)
                found = storages[key, dtype]
                if found.data is not None and len(found.data) == count * dtype.itemsize:
                    return found
                raise source.damaged(f"is damaged (the size of {quoted(key)}): fetch it again")
        raise source.damaged("is damaged (a storage that is none): fetch it again")

    data = archive.read(f"{folder}data.pkl")
    if len(data) > MOST_PICKLE:
        raise source.damaged("is not opened: its data.pkl is larger than any of weights")
    inner = source._replace(data=data)
    return _whole(inner, *Unpickler(inner, find, storage).load())


def _pickle(source):
    """A pickle by itself; the tensors in it, as in EDM's, are legacy files of their own."""

    def names(name):
        return Known(name, _load_from_bytes) if name == LOAD_FROM_BYTES else find(name)

    return _whole(source, *Unpickler(source, names).load())


def _load_from_bytes(source, args):
    match args:
        case (bytes() | memoryview() as data,):
            inner = source._replace(data=memoryview(data))
            if bytes(inner.data[: len(LEGACY)]) == LEGACY:
                return _legacy(inner)
    raise source.damaged("is damaged (a tensor in it): fetch it again")


def _whole(source, value, end):
    if end != len(source.data):
        raise source.damaged(f"is damaged ({len(source.data) - end} bytes after its end): fetch it again")
    return value


def _legacy(source):
    """Three pickles about the file, the pickle of the value, that of the keys of its storages, and the storages.

    The value comes before its numbers, so that it is made twice: to learn which storages there are, and with them.
    """
    at, about = 0, []  # the magic number, the version, and the machine
    for _ in range(3):
        one, at = Unpickler(source, find).load(at)
        about.append(one)
    match about:
        case (int(magic), int(version), {"little_endian": True}) if (magic, version) == (MAGIC, VERSION):
            pass
        case _:
            raise source.damaged("is not opened: a legacy file of torch of another version or byte order")
    declared: dict[str, tuple[np.dtype, int]] = {}
    _, end = Unpickler(source, find, lambda name: _declared(source, name, declared)).load(at)
    keys, end = Unpickler(source, find).load(end)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(declared):
        raise source.damaged("is damaged (the list of its storages): fetch it again")
    placed: dict[str, Storage] = {}
    for key in keys:
        dtype, count = declared[key]
        if int.from_bytes(source.part(end, 8), "little") != count or key in placed:
            raise source.damaged(f"is damaged (the size of {quoted(key)}): fetch it again")
        placed[key] = Storage(source.part(end + 8, count * dtype.itemsize), dtype)
        end += 8 + count * dtype.itemsize
    value, _ = Unpickler(source, find, lambda name: _placed(source, name, placed)).load(at)
    return _whole(source, value, end)


def _declared(source, name, declared):
    """A storage of a legacy file, before its numbers are found."""
    match name:
        case (str("module"), Known() as kind, *_):  # with its source, which is passed over
            return kind
        case (str("storage"), Known() as kind, str(key), _, int(count), *_) if dtype := storage_dtype(kind):
            if declared.setdefault(key, (dtype, count)) == (dtype, count) and 0 <= count <= len(source.data):
                return Storage(None, dtype)
    raise source.damaged("is damaged (a storage that is none): fetch it again")


def _placed(source, name, placed):
    """A storage of a legacy file, or the part of one that was a storage of its own."""
    match name:
        case (str("module"), kind, *_):
            return kind
        case (_, _, key, _, _) | (_, _, key, _, _, None):
            return placed[key]
        case (_, _, key, _, _, (_, int(offset), int(size))):
            whole = placed[key]
            width = whole.dtype.itemsize
            if 0 <= offset <= offset + size <= len(whole.data or b"") // width:
                return Storage((whole.data or memoryview(b""))[offset * width : (offset + size) * width], whole.dtype)
    raise source.damaged("is damaged (a storage that is none): fetch it again")
