"""JAX's compilation cache: where it is kept, what bounds it, and what a killed process leaves in it."""

import os
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from fewstep.cli import compilation_cache


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The user's cache folder; the variables that `enable` sets are put back."""
    for name in (
        "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
        "JAX_ENABLE_COMPILATION_CACHE",
    ):  # fmt: skip
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(compilation_cache.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "fewstep" / "compiled"


def enabled():
    compilation_cache.enable()
    return os.environ.get("JAX_COMPILATION_CACHE_DIR")


def test_it_is_kept_by_version_and_cpu_and_bounded(root, monkeypatch):
    here = enabled()
    assert os.path.dirname(here) == str(root)
    assert int(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]) == compilation_cache.MAX_BYTES
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(compilation_cache, "version", lambda name: "0.0.1")
    assert enabled() != here


def test_versions_that_nobody_used_for_a_month_are_forgotten(root):
    for days in (1, 10, 20, 29, 31, 100):
        (root / f"jaxlib-{days}").mkdir(parents=True)
        used = time.time() - days * 24 * 3600
        os.utime(root / f"jaxlib-{days}", (used, used))
    here = os.path.basename(enabled())
    assert {path.name for path in root.iterdir()} == {here, "jaxlib-1", "jaxlib-10", "jaxlib-20", "jaxlib-29"}


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_COMPILATION_CACHE_DIR", "mine"), ("JAX_ENABLE_COMPILATION_CACHE", "0")]
)
def test_what_the_user_has_set_is_kept(root, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert enabled() == (value if name == "JAX_COMPILATION_CACHE_DIR" else None)
    assert not root.exists()


def test_what_a_killed_process_left_is_removed_at_any_age(root):
    folder = root / compilation_cache.machine()
    folder.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "old-cache", "new-cache"):
        (folder / name).write_bytes(b"x")
    os.utime(folder / "old-cache", (1000, 1000))
    with FileLock(folder / ".lockfile"):  # somebody is writing
        enabled()
        assert (folder / "new-cache").exists()
    os.environ.pop("JAX_COMPILATION_CACHE_DIR")
    enabled()
    assert {path.name for path in folder.iterdir()} - {".lockfile"} == {"whole-cache", "whole-atime"}


@pytest.mark.slow
def test_jax_compiles_and_keeps_anew_what_was_cut_short(root, tmp_path):
    program = (
        "from fewstep.cli import compilation_cache; compilation_cache.enable()\n"
        "import jax; jax.jit(lambda x: jax.numpy.linalg.svd(x @ x.T)[1])(jax.numpy.ones((9, 9)))"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def entry():
        words = [sys.executable, "-c", program]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr
        return next(root.glob("*/*lambda*-cache"))

    kept = entry()
    size = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[: size // 2])
    kept.with_name(kept.name.removesuffix("-cache") + "-atime").unlink()
    assert entry().stat().st_size > 0.9 * size  # it holds the time of its compilation, which is compressed too
