"""JAX's persistent compilation cache: a command loads what earlier commands compiled.

The command line and the tests turn it on before JAX starts; importing the library does not.  It is kept in the user's
cache folder, in one sub-folder for each jaxlib and CPU: XLA compiles for the instruction set of the current CPU, and a
program compiled for another one would crash the process.
"""

import hashlib
import os
import platform
import shutil
import time
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs

MAX_BYTES = 1 << 30  # of a sub-folder; JAX removes the least recently used entries
DAYS = 30  # after which the sub-folder of a version and CPU that nobody used is removed
MIN_SECONDS = 0.2  # a program that compiles faster is compiled again


def enable() -> None:
    """Set JAX's environment variables, unless the user has set them, and silence its warnings about entries that cannot
    be read or written.  Call it before JAX is imported.

    Nothing is set if the folder cannot be written or JAX_ENABLE_COMPILATION_CACHE is 0.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or _off(os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1")):
        return
    root = platformdirs.user_cache_path("fewstep") / "compiled"
    folder = root / machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
    except (OSError, PackageNotFoundError):
        return
    if not os.access(folder, os.W_OK):
        return
    # a full disk, or an entry cut short: JAX goes on, and compiles again next time
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry", UserWarning)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(MAX_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(MIN_SECONDS))
    _forget(root)
    if os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == str(MAX_BYTES):
        _mend(folder)


def _off(value):
    return value.lower() in ("0", "false", "off", "no")


def machine() -> str:
    """The jaxlib and the CPU, as a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = sorted({line for line in lines if line.split(":")[0].strip() in ("model name", "flags", "Features")})
    except OSError:
        cpu = [platform.processor()]
    digest = hashlib.sha256("\n".join([platform.machine(), *cpu]).encode()).hexdigest()
    return f"jaxlib-{version('jaxlib')}-{digest[:16]}"


def _forget(root):
    """Remove the sub-folders that nobody used for long: a job on another machine may be using the others."""
    folders = []
    with suppress(OSError):
        folders = [*root.iterdir()]
    for folder in folders:
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > DAYS * 24 * 3600:
                shutil.rmtree(folder)


def _mend(folder):
    """Remove incomplete entries of killed processes.

    Under a size limit JAX writes an entry and then its time stamp, both within one lock: if the lock is free, an entry
    without a stamp is incomplete.  JAX would use it, never replace it, and stop caching because of the missing stamp.
    """
    if not _incomplete(folder):
        return
    from filelock import FileLock

    with suppress(OSError, NotImplementedError), FileLock(folder / ".lockfile", timeout=1):  # the lock of JAX
        for entry in _incomplete(folder):
            entry.unlink(missing_ok=True)


def _incomplete(folder):
    names = set(os.listdir(folder))
    stamped = {name.removesuffix("-atime") for name in names if name.endswith("-atime")}
    return [folder / name for name in names if name.endswith("-cache") and name.removesuffix("-cache") not in stamped]
