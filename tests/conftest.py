"""Settings of the whole suite, made before JAX starts."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from fewstep.cli import compilation_cache, cpu

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it
cpu.tune()
given = "JAX_COMPILATION_CACHE_DIR" in os.environ
# Thousands of small programs are compiled, each fast; making room for one would read the folder every time.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", "-1")
compilation_cache.enable()
if not given and "JAX_COMPILATION_CACHE_DIR" in os.environ:
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]) / "tests"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    if "PYTEST_XDIST_WORKER" not in os.environ:  # workers would remove files that others are reading
        with suppress(FileNotFoundError):
            if sum(path.stat().st_size for path in folder.iterdir()) > compilation_cache.MAX_BYTES:
                shutil.rmtree(folder, ignore_errors=True)
sys.path.insert(0, str(Path(__file__).parent / "helpers"))  # what several test files share
