"""JAX's compilation cache: where it is kept, what bounds it, and what a killed process leaves in it."""

import os
import time

import pytest

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


def test_other_versions_are_forgotten_those_used_last_at_last(root):
    for i in range(5):
        (root / f"jaxlib-{i}").mkdir(parents=True)
        os.utime(root / f"jaxlib-{i}", (1000 + i, 1000 + i))
    here = os.path.basename(enabled())
    assert {path.name for path in root.iterdir()} == {here, "jaxlib-3", "jaxlib-4"}


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_COMPILATION_CACHE_DIR", "mine"), ("JAX_ENABLE_COMPILATION_CACHE", "0")]
)
def test_what_the_user_has_set_is_kept(root, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert enabled() == (value if name == "JAX_COMPILATION_CACHE_DIR" else None)
    assert not root.exists()


def test_what_a_killed_process_left_is_removed(root):
    folder = root / compilation_cache._key()
    folder.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "cut-cache", "new-cache"):
        (folder / name).write_bytes(b"x")
        old = time.time() - (0 if name == "new-cache" else 1000)
        os.utime(folder / name, (old, old))
    enabled()
    assert {path.name for path in folder.iterdir()} == {"whole-cache", "whole-atime", "new-cache"}
