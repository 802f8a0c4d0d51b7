"""Names of files while they are written, and what killed processes left of them."""

import os
import re
import shutil
import socket
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

from etils import epath


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
