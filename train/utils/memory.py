"""How much memory is free, so that what cannot fit is refused before it is read."""

import math
import os
import sys
from contextlib import suppress
from pathlib import Path


def free_memory() -> int:
    """Bytes that this process may still use, by the system and by its control group; a huge number if unknown."""
    limits = [sys.maxsize]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError, IndexError):
        ours = Path("/proc/self/cgroup").read_text().split("::")[1].strip()
        group = Path("/sys/fs/cgroup", os.path.relpath(ours, "/"))
        used = int((group / "memory.current").read_text()) - _reclaimable(group)
        limits.append(int((group / "memory.max").read_text()) - used)
    return max(min(limits), 0)


def _reclaimable(group):
    pairs = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return next((int(size) for name, size in pairs if name == "inactive_file"), 0)


def amount(size: float) -> str:
    """A number of bytes in words, such as "4.2 GB"."""
    power = min(4, math.floor(math.log10(max(size, 1)) / 3))
    return f"{size / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
