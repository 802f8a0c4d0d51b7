"""Small .npz files that are written whole or not at all, and read whole or not at all; nothing is ever unpickled."""

import io
import zipfile
import zlib

import numpy as np
from etils import epath

from fewstep.train.utils.files import write_atomic

BROKEN = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Damaged(Exception):
    """The file is not an .npz archive, or not a whole one."""


def encode(**arrays) -> bytes:
    """The arrays as the bytes of an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of the bytes of an .npz file; raises Damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (*BROKEN, KeyError, AttributeError) as error:
        raise Damaged(str(error)) from error


def write(path: epath.PathLike, **arrays) -> None:
    """Write the arrays to `path`, atomically."""
    write_atomic(path, encode(**arrays))


def read(path: epath.PathLike) -> dict[str, np.ndarray]:
    """The arrays of the file at `path`; raises Damaged, also where it cannot be read."""
    try:
        data = epath.Path(path).read_bytes()
    except OSError as error:
        raise Damaged(str(error)) from error
    return decode(data)
