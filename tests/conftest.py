"""Settings of the whole suite, made before JAX starts."""

import os
import re
import shutil
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import pytest

from fewstep.cli import compilation_cache, cpu

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it
cpu.tune()
# Half of the time of `make test` is compilation, of thousands of small programs that run once: it compiles them without
# optimizations, at 0.4 of the cost.  Of the slow tests those that compute much (NUMERICAL in the Makefile) are compiled
# as users' programs are.
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


def pytest_addoption(parser):
    parser.addoption("--share", metavar="K/N", help="every N-th of the chosen tests of each file, K from 0 to N - 1")


def pytest_configure(config):
    asked = config.getoption("share")
    numbers = re.fullmatch(r"(\d+)/(\d+)", asked) if asked is not None else None
    if asked is not None and (numbers is None or int(numbers[1]) >= int(numbers[2])):
        raise pytest.UsageError(f"--share is K/N with K below N, such as 0/6: got {asked!r}")


@pytest.hookimpl(trylast=True)  # after -m has chosen
def pytest_collection_modifyitems(config, items):
    if config.getoption("share") is None:
        return
    share, shares = map(int, config.getoption("share").split("/"))
    seen, kept, others = Counter(), [], []
    for item in items:
        place = crc32(item.location[0].encode()) + seen[item.location[0]]  # not every file begins with the same share
        seen[item.location[0]] += 1
        (kept if place % shares == share else others).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=others)
