"""Files, local or in a bucket: how all are opened, atomic writes, append-only logs, JSON without NaN, folder locks."""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn, cast

from etils import epath

from fewstep.train.utils.errors import Busy, Damaged, RunError
from fewstep.train.utils.temporary import sweep, temporary

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEXT, JSON, LOG = 1 << 20, 16 << 20, 1 << 30  # the most bytes of a file of a kind: larger ones are not ours
DIGESTS = "digests.json"  # in a checkpoint
FOREIGN = "foreign.json"  # in an imported run
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


def open_file(path: epath.PathLike, most: int | None = None) -> BufferedReader:
    """A regular file, opened for reading; Damaged for anything else at the path, and for more than `most` bytes.

    Files that a user or a run names are opened here and nowhere else: reading a pipe or a device may never end.
    """
    if is_remote(path):
        return cast(BufferedReader, epath.Path(path).open("rb"))
    _check_regular(path, os.stat(path), most)  # opening a device may already act on it
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  (the caller closes it)
    try:
        _check_regular(path, os.fstat(file.fileno()), most)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: epath.PathLike, most: int | None = None) -> bytes:
    """The contents of a regular file of at most `most` bytes."""
    with open_file(path, most) as file:
        data = file.read(-1 if most is None else most + 1)
    if most is not None and len(data) > most:  # files of the system have no size
        raise _too_large(path, most)
    return data


def read_text(path: epath.PathLike, most: int = TEXT) -> str:
    """The contents of a text file in UTF-8, with at most `most` bytes."""
    try:
        return read_bytes(path, most).decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise Damaged(path, "is damaged (not a text)") from None


def loads(text: str) -> Any:
    """json.loads of a text that may be damaged: ValueError with a short reason, also for numbers that are infinite."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite_float)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, line {error.lineno}"
    except RecursionError:
        reason = "too many brackets"
    except ValueError:
        reason = "a number is not finite, or too long"
    raise ValueError(reason)


def _check_regular(path, status, most):
    if not stat.S_ISREG(status.st_mode):
        raise Damaged(path, f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file")
    if most is not None and status.st_size > most:
        raise _too_large(path, most)


def _too_large(path, most):
    return Damaged(path, f"is larger than {most >> 20} MiB, which no such file is")


def _without_waiting(path, flags):
    """Open a file without waiting for the other end of a pipe, which may have taken its place."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _refuse(text) -> NoReturn:
    raise ValueError(text)


def _finite_float(text):
    return number if math.isfinite(number := float(text)) else _refuse(text)


def write_atomic(path: epath.PathLike, data: bytes | str | Iterable[bytes | memoryview]) -> None:
    """Write `data`, or its parts one after another, to `path` (local or in a bucket) atomically: no reader ever sees a
    partial file.

    Parent folders are created.  Local data is written to a temporary file next to `path`, which then replaces it; an
    object in a bucket appears only when complete.  An OSError carries the file name.
    """
    path, data = epath.Path(path), data.encode() if isinstance(data, str) else data
    parts = [data] if isinstance(data, bytes) else data
    if is_remote(path):
        with path.open("wb") as file:
            file.writelines(parts)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    partial = path.with_name(f"{path.name}.{temporary()}")
    try:
        with partial.open("wb") as file:
            file.writelines(parts)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as for a full disk
            error.filename = str(path)
        raise


@contextmanager
def made(folder: epath.PathLike) -> Iterator[None]:
    """Within it a local folder exists.  If an error ends it, the lock and the folders that are new are removed, if they
    are empty."""
    folder = Path(folder)
    locked = (folder / ".lock").exists()
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    if not new and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if not locked:
                (folder / ".lock").unlink(missing_ok=True)
            for one in new:
                one.rmdir()
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
    return epath.Path(path if is_remote(path) else os.path.realpath(path))


def relative(path: epath.PathLike) -> str:
    """The path as one types it: relative to the working directory, if it is below."""
    root = os.getcwd()
    below = not is_remote(path) and str(path).startswith(os.path.join(root, ""))
    return os.path.relpath(path, root) if below else str(path)


def check_is_text(folder: epath.PathLike) -> None:
    """RunError for a folder whose path is not UTF-8: the library that stores checkpoints takes no other names."""
    path = str(absolute(folder))
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="backslashreplace").decode()
        raise RunError(f"{shown}: the name is not UTF-8, as checkpoints need: rename it, or give another") from None


def is_checkpoint(folder: epath.Path) -> bool:
    """Whether a folder holds anything of a checkpoint: an item, which is a folder, or the digests of the items."""
    try:
        return (folder / DIGESTS).exists() or any(path.is_dir() for path in folder.iterdir())
    except FileNotFoundError:  # just removed, by the training that saved it
        return False


def saved_steps(folder: epath.Path) -> list[int]:
    """The steps of the checkpoints in a folder; [] if there is none."""
    numbered = [path for path in folder.iterdir() if re.fullmatch(r"\d+", path.name)] if folder.is_dir() else []
    return sorted(int(path.name) for path in numbered if path.is_dir() and is_checkpoint(path))


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
    with open(os.path.join(folder, ".lock"), "a", opener=_without_waiting) as file:
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
        with open(os.path.join(folder, ".lock"), opener=_without_waiting) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
