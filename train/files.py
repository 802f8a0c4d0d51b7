"""Small files: written whole or not at all, JSON without NaN, and a folder that one process has to itself."""

import json
import math
import os
from contextlib import contextmanager

from etils import epath

from train.errors import Busy


def write_atomic(path, data: bytes | str) -> None:
    """Write `data` to `path` (a str or epath.Path, local or in a bucket) so that no reader ever sees a part of it.

    Folders are made as needed.  The data go to a file of this process beside it, which then replaces it.  An OSError
    names the file.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if isinstance(data, bytes):
            partial.write_bytes(data)
        else:
            partial.write_text(data)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk says only that it is full
            error.filename = str(path)
        raise


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
    try:
        import fcntl
    except ImportError:
        fcntl = None
    if fcntl is None or "://" in str(folder):
        yield
        return
    with open(os.path.join(folder, ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is training in {folder}: wait for it, or give another --run folder") from None
        except OSError:  # a file system without locks
            pass
        yield
