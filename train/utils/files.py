"""Small files, local or in a bucket: written whole or not at all, growing logs, JSON without NaN, a folder's lock."""

import json
import math
import os
import uuid
from contextlib import contextmanager

from etils import epath

from fewstep.train.utils.errors import Busy, RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_atomic(path, data: bytes | str) -> None:
    """Write `data` to `path` (a str or epath.Path, local or in a bucket) so that no reader ever sees a part of it.

    Folders are made as needed.  Local data go to a file of this process beside it, which then replaces it; an object of
    a bucket is there once it is whole.  An OSError names the file.
    """
    path, data = epath.Path(path), data if isinstance(data, bytes) else data.encode()
    if is_remote(path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")  # of several hosts too
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk says only that it is full
            error.filename = str(path)
        raise


class Growing:
    """A file that grows at its end; it begins as `begin`, whatever was there.

    Local files have every piece at once.  Object stores cannot append: there the file is written anew, whole, by
    `flush` and `close`: once a checkpoint, which is much larger.  RunError for what cannot be written.
    """

    def __init__(self, path, begin: bytes = b""):
        self.path, self._remote, self._unsaved = epath.Path(path), bytearray(begin), False
        write_atomic(self.path, begin)
        self._local = None if is_remote(path) else self.path.open("ab")

    def write(self, data: bytes):
        """Add to the end."""
        if self._local:
            with self._written():
                self._local.write(data)
                self._local.flush()
        else:
            self._remote += data
            self._unsaved = True

    def flush(self):
        """Everything so far is in the file."""
        if self._unsaved:
            with self._written():
                write_atomic(self.path, bytes(self._remote))
            self._unsaved = False

    def close(self):
        """The last flush."""
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
                f"{self.path} could not be written ({error.strerror or error}): put that right, and the same command "
                f"goes on from the last checkpoint"
            ) from error


def is_remote(path) -> bool:
    """Whether the path is in a bucket."""
    return "://" in str(path)


def absolute(path) -> epath.Path:
    """The path with what `cd` changes filled in; buckets have no such thing, and epath's resolve breaks their names."""
    return epath.Path(path) if is_remote(path) else epath.Path(path).resolve()


def config_values(folder) -> dict[str, str]:
    """What a run's config.gin sets, as it is written there: {"train.steps": "1500", ...}; {} where there is none."""
    path = epath.Path(folder) / "config.gin"
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def dumps(value, **options) -> str:
    """JSON, with null for NaN and infinities, which it does not have."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def alone(folder):
    """Hold the folder's lock, which ends with the process however it ends; raises Busy where another one holds it.

    Only on local file systems that have such locks.
    """
    if fcntl is None or is_remote(folder):
        yield
        return
    with open(os.path.join(folder, ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is at work in {folder}: wait for it, or give another folder") from None
        except OSError:  # a file system without locks
            pass
        yield


def held(folder) -> bool | None:
    """Whether a process holds the folder's lock; None where that cannot be told.  Nothing is written."""
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
