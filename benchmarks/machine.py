"""What a timing says of where it ran, and of its spread."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import jax
import numpy as np


def machine():
    """The commit, the processor, the load and the versions, as a sentence that may go on."""
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (
        f"Commit {asked.stdout.strip()}; {os.cpu_count()} cores of an {model[1] if model else platform.machine()}, no "
        f"accelerator;\nload {os.getloadavg()[0]:.1f} at the start; Python {platform.python_version()}, "
        f"jax {jax.__version__}"
    )


def peak():
    """Bytes of memory that this process has had at most, on Linux."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def seconds(run):
    """How long one run takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def spread(values, digits=2):
    """Median (lowest to highest)."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
