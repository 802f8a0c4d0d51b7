"""The small files of a run work in a bucket as they do on disk (checkpoints are Orbax's own affair)."""

from contextlib import suppress

import numpy as np
import pytest
from bucket import Bucket
from etils import epath
from etils.epath import backend
from events import shown

from fewstep.cli import parse
from fewstep.cli.config.load import load
from fewstep.cli.errors import UserError
from fewstep.cli.verbs.runs import main as runs
from fewstep.cli.verbs.train import _check_is_run_or_empty
from fewstep.train.checkpoints import digests
from fewstep.train.logs.jsonl import read
from fewstep.train.logs.logs import Logs
from fewstep.train.run.run import read_description, write_description
from fewstep.train.utils.config_values import config_values
from fewstep.train.utils.files import absolute, folder_lock, is_locked, write_atomic


@pytest.fixture
def folder(monkeypatch):
    bucket = Bucket()
    monkeypatch.setattr(type(backend.fsspec_backend), "fs", lambda self, path: bucket)
    monkeypatch.setattr(parse, "find_spec", lambda name: True)  # gcsfs is installed
    return epath.Path("gs://bucket/runs/digits")


def test_an_object_is_written_whole_and_nothing_else_is(folder):
    for data in ("before", b"after"):
        write_atomic(folder / "new" / "a.txt", data)
    assert (folder / "new" / "a.txt").read_text() == "after"
    assert [str(path) for path in (folder / "new").iterdir()] == ["gs://bucket/runs/digits/new/a.txt"]


def test_logs_are_there_whenever_a_checkpoint_is(folder):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    with suppress(KeyboardInterrupt), Logs(folder, 0, batch_size=4) as logs:
        for step in range(1, 5):
            logs.log(step, loss=1.0)
            if step == 2:
                logs.picture(step, pixels)
                logs.flush()
                assert [line["step"] for line in read(folder / "metrics.jsonl")] == [1, 2]
                assert len(shown(folder / "tensorboard")["loss"]) == 2
        raise KeyboardInterrupt
    assert [line["step"] for line in read(folder / "metrics.jsonl")] == [1, 2, 3, 4]
    with Logs(folder, 2, batch_size=4) as logs:
        logs.log(3, loss=2.0)
    expected = [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert [(line["step"], line["loss"]) for line in read(folder / "metrics.jsonl")] == expected
    assert shown(folder / "tensorboard")["loss"] == expected
    np.testing.assert_array_equal(shown(folder / "tensorboard")["samples"][0][1], pixels)
    assert (folder / "samples" / "00000002.png").exists()


def test_a_log_is_written_once_a_checkpoint(folder, monkeypatch):
    written, write = [], Bucket.open
    monkeypatch.setattr(
        Bucket, "open", lambda self, path, mode, **o: written.append(path) or write(self, path, mode, **o)
    )
    with Logs(folder, 0, batch_size=4) as logs:
        for step in range(1, 101):
            logs.log(step, loss=1.0)
            if step % 50 == 0:
                logs.flush()
    assert sum(path.endswith("metrics.jsonl") for path in written) == 3  # to begin with and twice


def test_digests_find_what_changed(folder):
    step = folder / "checkpoints" / "20"
    for name in ("ema/d/1f", "params/d/2a", "params/_sharding"):
        write_atomic(step / name, name)
    write_atomic(step / "_CHECKPOINT_METADATA", "goes on changing")
    digests.write(step)
    assert digests.damage(step) is None
    write_atomic(step / "params/d/2a", "flipped")
    assert digests.damage(step) == "params/d/2a has changed"
    (step / "ema/d/1f").unlink()
    assert digests.damage(step) == "ema/d/1f is missing"


def test_config_and_description(folder):
    write_atomic(folder / "config.gin", "train.steps = 7\ntrain.data = @digits\n")
    write_description(folder, {"shape": [8, 8, 1], "classes": 10})
    assert read_description(folder)["shape"] == (8, 8, 1)
    assert config_values(folder) == {"train.steps": "7", "train.data": "@digits"}
    load(folder / "config.gin")  # gin reads it under its whole name


def test_nobody_can_be_locked_out(folder):
    with folder_lock(folder), folder_lock(folder):
        assert is_locked(folder) is None
    assert absolute(folder) == folder


def test_a_folder_without_objects_is_nobodys(folder):
    _check_is_run_or_empty(folder)
    write_atomic(folder / "a.txt", "a")
    with pytest.raises(UserError, match="contains other files"):
        _check_is_run_or_empty(folder)


def test_runs_are_listed(folder, capsys):
    write_atomic(folder / "config.gin", "train.steps = 7\n")
    write_atomic(folder / "metrics.jsonl", '{"step": 5, "loss": 0.25, "FD-pixels": 0.5}\n')
    runs("gs://bucket")
    assert "runs/digits   unfinished   5 of 7   0.250   0.500" in capsys.readouterr().out


def test_other_stores_are_refused():
    with pytest.raises(UserError, match="gs://BUCKET"):
        parse.path("s3://bucket/run", "--run")
