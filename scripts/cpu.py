"""Settings that make JAX faster on CPUs, applied before JAX starts: by the command line, the tests and the benchmarks,
never by importing the library.

Measured by benchmarks/cpu_settings.py on the network of configs/digits (2 cores, AMD EPYC, jaxlib 0.10.2; time without
each setting divided by time with it):

                          forward, 256 images    training step, 64
    convolution flag      1.35                   1.12
    mallopt               1.00                   1.23
    both                  1.37                   1.53
"""

import ctypes
import os
import sys
from importlib.metadata import PackageNotFoundError, version

# Moves convolutions from YNNPACK, which runs them on one core, to Eigen, which uses all.  An unknown flag aborts the
# process, so it is set only for the versions of jaxlib that are known to have it and to be faster with it.
_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
_KNOWN = ("0.10.",)

# Keeps large temporary buffers in the process, instead of returning them to the system and paying page faults at
# every call: MMAP_MAX = 0, TRIM_THRESHOLD = never, TOP_PAD = 64 MB.  (ARENA_MAX = 1 as well made a training step of the
# digits 1.5 times slower: one arena has one lock.)
_MALLOPT = ((-4, 0), (-1, -1), (-2, 64 << 20))


def is_known() -> bool:
    """Whether this version of jaxlib is known to have the flags of XLA that are set here and in the tests."""
    try:
        return version("jaxlib").startswith(_KNOWN)
    except PackageNotFoundError:
        return False


def tune() -> None:
    """Apply the settings that this machine supports, before NumPy and JAX are imported; the user's own are kept."""
    # The matrices of distances are small, and waiting OpenBLAS threads would take cores from XLA.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    flags = os.environ.get("XLA_FLAGS", "")
    if is_known() and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}".strip()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            for option, value in _MALLOPT:
                libc.mallopt(option, value)
