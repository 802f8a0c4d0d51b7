"""A run survives what happens to runs: kill -9, SIGTERM, Ctrl-C, damaged checkpoints."""

import random
import shutil
import signal
import subprocess
import time

import pytest
from small_run import STEPS, command, finish, interrupted, logged, losses


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(folder), check=True, capture_output=True)
    assert list(losses(folder)) == list(range(1, STEPS + 1))
    return folder


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_same_losses_bit_for_bit(uninterrupted, tmp_path):
    folder, rng = tmp_path / "run", random.Random(0)
    for _ in range(2):
        status, _ = interrupted(folder, signal.SIGKILL, rng.randint(30, 120))
        assert status == -signal.SIGKILL
    done = finish(folder)
    assert done.returncode == 0, done.stderr
    assert losses(folder) == losses(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_saves_and_exits_0(uninterrupted, tmp_path, number):
    folder = tmp_path / "run"
    status, err = interrupted(folder, number, 33)
    assert status == 0, err
    assert "resumes from there" in err
    reached = max(losses(folder))
    assert (folder / "checkpoints" / str(reached)).is_dir()
    assert finish(folder).returncode == 0
    assert losses(folder) == losses(uninterrupted)


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "run")


def truncate(step):
    """Every data file cut in half: which of them a restore reads is Orbax's affair."""
    for path in step.rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


def foreign(step):
    empty(step)
    (step / "notes.txt").write_text("not a checkpoint")


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(uninterrupted, tmp_path):
    folder = copied(uninterrupted, tmp_path)
    newest = folder / "checkpoints" / str(STEPS)
    truncate(newest)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    done = finish(folder)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert str(newest) in done.stderr.splitlines()[-1]
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    shutil.rmtree(newest)  # what the message says to do
    assert finish(folder).returncode == 0
    assert losses(folder) == losses(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("replace", [empty, foreign])
def test_a_folder_that_is_no_checkpoint_is_passed_over(uninterrupted, tmp_path, replace):
    folder = copied(uninterrupted, tmp_path)
    replace(folder / "checkpoints" / str(STEPS))
    done = finish(folder)
    assert done.returncode == 0, done.stderr
    assert f"{STEPS} is no checkpoint, and is passed over" in done.stderr
    assert (folder / "checkpoints" / f"{STEPS}.aside").is_dir()
    assert losses(folder) == losses(uninterrupted)


@pytest.mark.slow
def test_a_run_that_diverges_stops_and_saves_nothing_broken(tmp_path):
    folder = tmp_path / "run"
    bursting = ("adamw.lr=10.0", "adamw.weight_decay=1e6", "adamw.warmup=1")
    done = subprocess.run(command(folder, *bursting), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "NaN or infinite" in done.stderr.splitlines()[-1]
    assert "lower learning rate" in done.stderr.splitlines()[-1]
    assert max(losses(folder)) < STEPS
    assert all(None in line for step, line in losses(folder).items() if step > 5)  # null: JSON has no NaN
    assert list((folder / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_signals_that_keep_coming_lose_nothing(uninterrupted, tmp_path):
    """A second SIGTERM while the checkpoint is being saved, as some schedulers send."""
    folder = tmp_path / "run"
    process = subprocess.Popen(command(folder), stderr=subprocess.PIPE, text=True)
    while logged(folder) < 33 and process.poll() is None:
        time.sleep(0.002)
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    _, err = process.communicate()
    assert process.returncode == 0, err
    reached = max(losses(folder))
    assert [p.name for p in (folder / "checkpoints").iterdir()].count(str(reached)) == 1
    assert finish(folder).returncode == 0
    assert losses(folder) == losses(uninterrupted)


@pytest.mark.slow
def test_a_signal_is_answered_when_nobody_reads_any_more(uninterrupted, tmp_path):
    """`fewstep train ... 2>&1 | tee log` and Ctrl-C: the same signal has ended tee."""
    folder = tmp_path / "run"
    process = subprocess.Popen(command(folder), stderr=subprocess.PIPE)
    while logged(folder) < 33 and process.poll() is None:
        time.sleep(0.002)
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert (folder / "checkpoints" / str(max(losses(folder)))).is_dir()
    assert finish(folder).returncode == 0
    assert losses(folder) == losses(uninterrupted)


@pytest.mark.slow
def test_one_process_trains_in_a_folder(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    first = subprocess.Popen(command(folder), stderr=subprocess.PIPE, text=True)
    while logged(folder) < 10 and first.poll() is None:
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)
    second = finish(folder)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert "another process is using" in second.stderr.splitlines()[-1]
    assert "Traceback" not in second.stderr
    assert first.wait(timeout=120) == 0
    assert losses(folder) == losses(uninterrupted)
