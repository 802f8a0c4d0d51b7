"""Settings of the whole suite, made before JAX starts."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from fewstep.cli import compilation_cache, cpu

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it
cpu.tune()
# Half of the time of `make test` is compilation, of thousands of small programs that run once: it compiles them without
# optimizations, at 0.4 of the cost.  The slow tests, and in CI also the numerical ones of the others, are compiled as
# users' programs are.
if os.environ.get("FEWSTEP_TESTS") == "quick" and cpu.is_known():
    unoptimized = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    if unoptimized not in os.environ["XLA_FLAGS"]:  # workers inherit it
        os.environ["XLA_FLAGS"] += f" {unoptimized}"
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
