"""Small .npz files: written atomically, read completely, never unpickled."""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from etils import epath

from fewstep.train.utils.files import write_atomic

BROKEN = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Damaged(Exception):
    """The file is not a complete .npz archive."""


def encode(**arrays: Any) -> bytes:
    """The arrays as the bytes of an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, given as bytes; raises Damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (*BROKEN, KeyError, AttributeError) as error:
        raise Damaged(str(error)) from error


def write(path: epath.PathLike, **arrays: Any) -> None:
    """Write the arrays to `path` atomically."""
    write_atomic(path, encode(**arrays))


def read(path: epath.PathLike) -> dict[str, np.ndarray]:
    """The arrays of the file at `path`; raises Damaged, also if the file cannot be read."""
    try:
        data = epath.Path(path).read_bytes()
    except OSError as error:
        raise Damaged(str(error)) from error
    return decode(data)
