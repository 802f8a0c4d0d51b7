"""A disk that fills up: one clear line, the last good checkpoint whole, and the same command goes on."""

import errno
import resource
import shutil
import signal
import threading
import time

import numpy as np
import optax
import pytest
from orbax.checkpoint._src.path import async_path
from small_run import finish, interrupted, losses

from fewstep.train.checkpoints import checkpoints, digests
from fewstep.train.logs.jsonl import Metrics
from fewstep.train.state import initial_state
from fewstep.train.utils import files
from fewstep.train.utils.errors import CheckpointError, RunError

WIDE = ("MLP.width=128", "train.steps=100")  # arrays of 64 kB and more
NEVER = "train.save_every=1000"


def full():
    """In the process of the run: no file of more than 50 kB can be written (EFBIG), as with a quota."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def assert_one_line(status, err):
    assert status == 2, err
    usual = ("data: moons", " steps  compiling", " steps  loss ", "stopping: saving")
    others = [line for line in err.splitlines() if line.strip() and not any(part in line for part in usual)]
    assert len(others) == 1, err
    assert others[0].startswith("fewstep: checkpoint ")
    assert "could not be written (File too large)" in others[0]
    assert "the same command resumes" in others[0]


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A compilation cache as users have it, to which every program is written, or on a full disk cannot be."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE", "JAX_ENABLE_COMPILATION_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_a_write_that_fails_midway_leaves_the_last_checkpoint(tmp_path):
    folder = tmp_path / "run"
    assert interrupted(folder, signal.SIGTERM, 10, *WIDE)[0] == 0
    steps = {p: digests.damage(p) for p in (folder / "checkpoints").iterdir()}
    before = {p: p.read_bytes() for p in (folder / "checkpoints").rglob("*") if p.is_file()}
    done = finish(folder, *WIDE, preexec_fn=full)
    assert_one_line(done.returncode, done.stderr)
    assert set(steps.values()) == {None}
    assert before.items() <= {p: p.read_bytes() for p in (folder / "checkpoints").rglob("*") if p.is_file()}.items()
    left = {p.name for p in (folder / "checkpoints").iterdir()} - {p.name for p in steps}
    assert [name.partition(".")[2] for name in left] == ["orbax-checkpoint-tmp"]
    assert finish(folder, *WIDE).returncode == 0
    assert list(losses(folder)) == list(range(1, 101))
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["100", "60", "80"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_the_last_save_fails_as_clearly(tmp_path):
    done = finish(tmp_path / "run", *WIDE, NEVER, preexec_fn=full)
    assert_one_line(done.returncode, done.stderr)
    assert finish(tmp_path / "run", *WIDE, NEVER).returncode == 0
    entries = [path.stat().st_size for path in (tmp_path / "cache").rglob("*-cache")]
    assert max(entries) > 50_000  # of a program that could not be kept before


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_so_does_the_save_that_answers_a_signal(tmp_path):
    long = (*WIDE[:1], "train.steps=100000", "train.log_every=10", NEVER.replace("1000", "100000"))
    assert_one_line(*interrupted(tmp_path / "run", signal.SIGTERM, 3, *long, preexec_fn=full))


def state_of(step):
    state = initial_state({"net": {"kernel": np.full(4, step, np.float32)}}, ("0.9",), optax.sgd(0.1, momentum=0.9))
    return state._replace(step=np.int32(step), nonfinite_steps=np.int32(0))


def test_no_room_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with (
        checkpoints.Checkpoints(tmp_path) as manager,
        pytest.raises(CheckpointError, match="not enough disk space for a"),
    ):
        manager.save(1, state_of(1))
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_cannot_be_sealed_does_not_become_final(tmp_path, monkeypatch):
    def fail(folder):
        raise OSError(28, "No space left on device")

    with checkpoints.Checkpoints(tmp_path) as manager:
        manager.save(1, state_of(1))
    with monkeypatch.context() as patch:
        patch.setattr(digests, "write", fail)
        with (
            pytest.raises(CheckpointError, match=r"/2 could not be written \(No space left on device\)"),
            checkpoints.Checkpoints(tmp_path) as manager,
        ):
            manager.save(2, state_of(2))
    with checkpoints.Checkpoints(tmp_path, create=False) as manager:
        assert manager.latest() == 1
        assert (tmp_path / "2.orbax-checkpoint-tmp").exists()  # a reader clears nothing away
    with checkpoints.Checkpoints(tmp_path) as manager:
        manager.save(3, state_of(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


def test_a_folder_that_cannot_be_made_leaves_no_thread_waiting(tmp_path, monkeypatch):
    """Orbax's threads wait 300 s for the one that failed, and Python waits for them when the process ends."""
    make = async_path.mkdir

    async def fail(path, *arguments, **options):
        if "params" in path.name:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        return await make(path, *arguments, **options)

    monkeypatch.setattr(async_path, "mkdir", fail)
    before = set(threading.enumerate())
    with (
        pytest.raises(CheckpointError, match=r"1 could not be written \(Operation not permitted\)"),
        checkpoints.Checkpoints(tmp_path) as manager,
    ):
        manager.save(1, state_of(1))
    waiting = [thread for thread in set(threading.enumerate()) - before if "metadata_store" not in thread.name]
    deadline = time.monotonic() + 10
    for thread in waiting:
        threading.Thread.join(thread, max(0, deadline - time.monotonic()))
        assert not thread.is_alive(), thread.name


def test_metrics_that_cannot_be_written_are_one_line(tmp_path):
    log = Metrics(tmp_path / "metrics.jsonl", 0)
    log._file._local.close()
    message = r"metrics.jsonl could not be written \(No space left on device\)"
    with open("/dev/full", "wb") as log._file._local:
        with pytest.raises(RunError, match=message):
            log.log(1, {"loss": 0.5})
        with pytest.raises(RunError, match=message):  # what is still in the buffer
            log.close()


def test_a_small_file_that_cannot_be_written_is_named(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large.*a\.json"):
            files.write_atomic(tmp_path / "a.json", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
