"""Names of files while they are written, and what killed processes left of them."""

import os
import re
import shutil
import socket
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from etils import epath

from fewstep.errors import UsageError


def temporary() -> str:
    """The end of a name for what is being written: unique, and tells the process."""
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


_TEMPORARY = re.compile(r".+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp")
_swept: set[str] = set()  # folders, once in a process


def _host():
    """Of what the numbers of processes are: a machine, or a container on it."""
    name = socket.gethostname()
    with suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(name.encode()):08x}"


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which is new or empty, and becomes it when the block ends; if an error ends the
    block, nothing is left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    partial = folder.with_name(f"{folder.name}.{temporary()}")
    try:
        partial.mkdir()
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_new(folder: Path, what: str) -> None:
    """UsageError unless a local folder can be made, or is there and empty."""
    if next(one for one in (folder, *folder.parents) if one.exists()).is_dir() is False:
        raise UsageError(f"{folder} cannot be made, because a file is in the way: {what} another folder")
    if folder.exists() and any(folder.iterdir()):
        state = "is a run already" if (folder / "config.gin").exists() else "is not empty"
        raise UsageError(f"{folder} {state}: {what} a new folder")


def sweep(folder: epath.Path | Path) -> None:
    """Remove what killed processes of this machine were writing to the folder."""
    if str(folder) in _swept:
        return
    _swept.add(str(folder))
    for path in folder.glob("*.tmp"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and found[1] == _host() and not _is_alive(int(found[2])):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(process):
    if os.name != "posix":  # there it would send a signal
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True
