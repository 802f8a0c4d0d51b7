"""Files, local or in a bucket: atomic writes, append-only logs, JSON without NaN, and folder locks."""

import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etils import epath

from fewstep.train.utils.errors import Busy, RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_atomic(path: epath.PathLike, data: bytes | str) -> None:
    """Write `data` to `path` (local or in a bucket) atomically: no reader ever sees a partial file.

    Parent folders are created.  Local data is written to a temporary file next to `path`, which then replaces it; an
    object in a bucket appears only when complete.  An OSError carries the file name.
    """
    path, data = epath.Path(path), data if isinstance(data, bytes) else data.encode()
    if is_remote(path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")  # unique across hosts
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as for a full disk
            error.filename = str(path)
        raise


class AppendFile:
    """A file to append to; its previous content is replaced by `initial`.

    Local files receive every write at once.  Object stores cannot append: `flush` and `close` rewrite the whole file,
    which happens once per checkpoint and is small in comparison.  Raises RunError if a write fails.
    """

    def __init__(self, path: epath.PathLike, initial: bytes = b""):
        self.path, self._remote, self._unsaved = epath.Path(path), bytearray(initial), False
        write_atomic(self.path, initial)
        self._local: Any = None if is_remote(path) else self.path.open("ab")

    def write(self, data: bytes) -> None:
        """Append `data`."""
        if self._local:
            with self._written():
                self._local.write(data)
                self._local.flush()
        else:
            self._remote += data
            self._unsaved = True

    def flush(self) -> None:
        """Save all data written so far."""
        if self._unsaved:
            with self._written():
                write_atomic(self.path, bytes(self._remote))
            self._unsaved = False

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        if self._local:
            with self._written():
                self._local.close()

    @contextmanager
    def _written(self):
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.path} could not be written ({error.strerror or error}): fix this, and run the same command "
                f"again; it resumes from the last checkpoint"
            ) from error


def is_remote(path: epath.PathLike) -> bool:
    """Whether the path is in a bucket."""
    return "://" in str(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """The absolute path; paths in buckets are returned as they are, because epath's resolve breaks them."""
    return epath.Path(path) if is_remote(path) else epath.Path(path).resolve()


def config_values(folder: epath.PathLike) -> dict[str, str]:
    """The bindings of a run's config.gin as text, {"train.steps": "1500", ...}; {} if there is no such file."""
    path = epath.Path(folder) / "config.gin"
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def dumps(value: Any, **options: Any) -> str:
    """json.dumps with null in place of NaN and infinities."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def folder_lock(folder: epath.PathLike) -> Iterator[None]:
    """Hold the folder's lock; the operating system releases it if the process dies.  Raises Busy if it is taken.

    Does nothing for buckets and for file systems without locks.
    """
    if fcntl is None or is_remote(folder):
        yield
        return
    with open(os.path.join(folder, ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is using {folder}: wait for it, or choose another folder") from None
        except OSError:  # the file system has no locks
            pass
        yield


def is_locked(folder: epath.PathLike) -> bool | None:
    """Whether a process holds the folder's lock; None if unknown.  Writes nothing."""
    if fcntl is None or is_remote(folder):
        return None
    try:
        with open(os.path.join(folder, ".lock")) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
