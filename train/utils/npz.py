"""Arrays in .npz and .npy files: written atomically, checked against the file before they are read, never unpickled."""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import open_file, write_atomic
from fewstep.train.utils.hashing import arrays_sha256
from fewstep.train.utils.memory import amount, free_memory
from fewstep.train.utils.sealed import KEY, Changed

EXPANSION = 1040  # a byte of a compressed file makes at most so many
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
BOMB = 100, 1 << 30  # no honest file makes so many bytes of each of its own, and so many in total


class TooLarge(Damaged):
    """The arrays do not fit into memory, or are made to fill it."""


class Form(NamedTuple):
    """What the header of an array says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def size(self) -> int:
        """The bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """The arrays of an opened .npz file by name; each is read, completely or not at all, when it is asked for."""

    def __init__(self, file: Any, path: object):
        self._path = path
        with _named(path):
            self._zip = zipfile.ZipFile(file)
        self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
        self.files = list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> np.ndarray:
        """The array; KeyError if there is none, Damaged if it is not whole, not numeric, or too large."""
        info = self._members[name]
        self.check_fits([name])
        with _named(self._path, f"{name}: "):
            with self._zip.open(info) as member:
                found = form(member)
                _check_size(found, info.file_size - member.tell())
            with self._zip.open(info) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
                member.read()  # to the end, where the checksum is compared
                return array

    def check_fits(self, names: list[str]) -> None:
        """Raises Damaged unless these arrays are no larger than the file can make them, and fit into memory."""
        total = 0
        for info in (self._members[name] for name in names):
            stored = info.compress_type == zipfile.ZIP_STORED
            most = info.compress_size * (1 if stored else EXPANSION)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.file_size > most:
                raise Damaged(self._path, "is damaged (an array is larger than its part of the file)")
            if info.file_size > BOMB[1] and info.file_size > BOMB[0] * info.compress_size:
                raise TooLarge(self._path, f"is a file that grows to {amount(info.file_size)}, as no images do")
            total += info.file_size
        if total > (free := free_memory()):
            raise TooLarge(self._path, f"needs {amount(total)} of memory, and {amount(free)} are free")

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()


@contextmanager
def opened(path: epath.PathLike) -> Iterator[Archive]:
    """The arrays of the file at `path`; raises Damaged, or OSError if the file cannot be read."""
    with open_file(path) as file, Archive(file, path) as archive:
        yield archive


def form(file: Any) -> Form:
    """The header of an array, read from where an opened file stands; ValueError for one that NumPy did not write."""
    try:
        found = Form(*HEADERS[np.lib.format.read_magic(file)](file))
    except Exception as error:  # NumPy parses the header as Python
        raise ValueError("its header") from error
    if found.dtype.hasobject:
        raise ValueError("Object arrays, not numbers")
    if any(n < 0 for n in found.shape):
        raise ValueError(f"an array of shape {found.shape}")
    return found


def _check_size(found, left):
    if found.size != left:
        raise ValueError(f"an array of shape {found.shape} does not take {left} bytes")


@contextmanager
def _named(path, name=""):
    """Whatever NumPy and zipfile raise for a broken file, as Damaged with the path."""
    try:
        yield
    except (Damaged, MemoryError):
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise Damaged(path, f"is damaged ({name}{str(error) or type(error).__name__})") from error
    except Exception as error:  # zlib.error and struct.error, of an archive that is cut or overwritten
        raise Damaged(path, f"is damaged ({name}{type(error).__name__})") from error


def encode(**arrays: Any) -> bytes:
    """The arrays as the bytes of an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def decode(data: bytes, path: object) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, given as bytes; raises Damaged."""
    with Archive(io.BytesIO(data), path) as archive:
        return _all(archive)


def write(path: epath.PathLike, **arrays: Any) -> None:
    """Write the arrays to `path` atomically, sealed."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    write_atomic(path, encode(**arrays, **{KEY: np.array(arrays_sha256(arrays))}))


def read(path: epath.PathLike) -> dict[str, np.ndarray]:
    """The arrays of the file at `path`; raises Damaged, also if the file cannot be read or its seal does not fit."""
    arrays, whole = parts(path)
    if whole is False:
        raise Changed(path)
    return arrays


def parts(path: epath.PathLike) -> tuple[dict[str, np.ndarray], bool | None]:
    """The arrays of the file at `path`, and whether its seal fits, None if it has none; raises Damaged."""
    try:
        with opened(path) as archive:
            arrays = _all(archive)
            seal = arrays.pop(KEY, None)
            return arrays, None if seal is None else str(seal) == arrays_sha256(arrays)
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror or error})") from error


def _all(archive):
    archive.check_fits(archive.files)
    return {name: archive[name] for name in archive.files}


def mapped(path: epath.PathLike) -> np.ndarray:
    """The array of a local .npy file, read from disk where it is used; raises Damaged, or OSError."""
    with open_file(path) as file, _named(path):
        found, start = form(file), file.tell()
        _check_size(found, file.seek(0, io.SEEK_END) - start)
        order = "F" if found.fortran else "C"
        return np.memmap(file, found.dtype, "r", start, found.shape, order)
