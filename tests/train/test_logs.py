"""What is logged arrives, once, with everybody who reads it."""

import json
import sys
import time
import types

import numpy as np
import pytest
from etils import epath
from events import crc, records, shown
from PIL import Image
from refused import message

from fewstep.train.logs.jsonl import read
from fewstep.train.logs.logs import Logs
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import AppendFile


def test_the_checksum_is_crc_32c():
    value = (crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert (value >> 17 | value << 15) & 0xFFFFFFFF == 0xE3069283  # the published check value


@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_pictures_arrive(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    with Logs(tmp_path, 0, batch_size=4) as logs:
        logs.log(1, loss=0.5, grad_norm=2.0)
        logs.picture(2, pixels)
        logs.log(2, loss=float("nan"), **{"FD-pixels": 1.25})
        assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [1, 2]  # on disk at once
        assert shown(tmp_path / "tensorboard")["grad_norm"] == [(1, 2.0)]
    found = shown(tmp_path / "tensorboard")
    assert found["loss"][0] == (1, 0.5)
    assert np.isnan(found["loss"][1][1])
    assert found["FD-pixels"] == [(2, 1.25)]
    expected = pixels[..., 0] if channels == 1 else pixels
    ((step, seen),) = found["samples"]
    assert step == 2
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(Image.open(tmp_path / "samples" / "00000002.png"), expected)
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first == {"step": 1, "loss": 0.5, "grad_norm": 2.0}
    assert (second["loss"], second["FD-pixels"]) == (None, 1.25)


def test_after_a_resume_no_step_shows_twice(tmp_path):
    """Killed after step 9, resumed at 6, all within a second; then killed again before anything was saved."""
    for begin, end, value in ((0, 9, 1.0), (6, 8, 2.0), (6, 12, 3.0)):
        with Logs(tmp_path, begin, batch_size=4) as logs:
            for step in range(begin + 1, end + 1):
                logs.log(step, loss=value)
    expected = [(step, 1.0 if step <= 6 else 3.0) for step in range(1, 13)]
    assert shown(tmp_path / "tensorboard")["loss"] == expected
    assert [(line["step"], line["loss"]) for line in read(tmp_path / "metrics.jsonl")] == expected


def test_a_session_without_a_step_leaves_nothing(tmp_path):
    for _ in range(2):
        with Logs(tmp_path, 0, batch_size=4):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_record_cut_by_a_kill_spoils_nothing(tmp_path):
    """TensorBoard leaves it out and goes on with the next file; nothing is ever written after it."""
    with Logs(tmp_path, 0, batch_size=4) as logs:
        logs.log(1, loss=1.0)
    (path,) = (tmp_path / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes() + b"\x40\0\0")
    before = path.read_bytes()
    with Logs(tmp_path, 1, batch_size=4) as logs:
        logs.log(2, loss=1.0)
    (other,) = set((tmp_path / "tensorboard").iterdir()) - {path}
    assert path.read_bytes() == before
    assert [event.step for event in records(other)] == [0, 2, 2]
    assert sorted([path, other]) == [path, other]


def test_a_full_disk_is_one_line(tmp_path):
    log = AppendFile(tmp_path / "full")
    log.close()
    log._local = epath.Path("/dev/full").open("ab")
    with pytest.raises(RunError, match=r"full could not be written \(No space left on device\)"):
        log.write(b"line")


def test_images_per_s_counts_training_alone(tmp_path, monkeypatch):
    clock = iter([100.0, 102.0, 103.0, 153.0, 154.0])  # log, log, aside from 103 to 153, log
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with Logs(tmp_path, 0, batch_size=8) as logs:
        logs.log(10, loss=1.0)
        logs.log(20, loss=1.0)
        with logs.untimed():
            pass
        logs.log(30, loss=1.0)
    lines = read(tmp_path / "metrics.jsonl")
    assert "images_per_s" not in lines[0]  # compilation lies before it
    assert [line["images_per_s"] for line in lines[1:]] == [10 * 8 / 2, 10 * 8 / 2]


def test_a_log_that_cannot_begin_closes_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if not installed
    closed, close = [], AppendFile.close
    monkeypatch.setattr(AppendFile, "close", lambda file: (closed.append(file.path.name), close(file)))
    told = message(lambda: Logs(tmp_path, 0, batch_size=8, wandb="digits"), RunError)
    assert "pip install 'fewstep[wandb]'" in told
    assert closed == ["metrics.jsonl"]


class Server:
    """A stand-in for the module wandb and the server behind it."""

    def __init__(self):
        self.calls, self.history, self.finished = [], [], 0
        module = types.ModuleType("wandb")
        module.init, module.Image = self.init, lambda pixels: ("image", pixels.shape)
        self.module = module

    def init(self, **options):
        self.calls.append(options)
        return self

    @property
    def step(self):
        return self.history[-1][0] + 1 if self.history else 0

    def log(self, values, step):
        assert not self.history or step >= self.history[-1][0]  # wandb drops the others with a warning each
        self.history.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setitem(sys.modules, "wandb", server.module)
    return server


def test_wandb_goes_on_under_the_same_id(tmp_path, server):
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "config.gin").write_text("adamw.lr = 0.001\ntrain.steps = 12\n")
    for begin, end in ((0, 9), (6, 12)):
        with Logs(folder, begin, batch_size=4, wandb="project") as logs:
            for step in range(begin + 1, end + 1):
                logs.log(step, loss=float(step))
            logs.picture(end, np.zeros((4, 4, 1), np.uint8))
    first, second = server.calls
    assert first == second
    assert (first["project"], first["name"], first["resume"], first["dir"]) == (
        "project",
        "digits",
        "allow",
        str(folder),
    )
    assert len(first["id"]) == 16
    assert first["config"] == {"adamw.lr": "0.001", "train.steps": "12"}
    losses = [(step, values["loss"]) for step, values in server.history if "loss" in values]
    assert losses == [(step, float(step)) for step in range(1, 13)]
    assert [values for _, values in server.history if "samples" in values] == [{"samples": ("image", (4, 4, 1))}] * 2
    assert server.finished == 2


def test_two_runs_of_one_name_are_two_on_wandb(tmp_path, server):
    for name in ("a/digits", "b/digits"):
        Logs(tmp_path / name, 0, batch_size=4, wandb="project").__exit__(None, None, None)
    assert len({call["id"] for call in server.calls}) == 2


def test_wandb_that_does_not_start_is_one_line(tmp_path, server):
    def refuse(**options):
        raise RuntimeError("api_key not configured\nmore")

    server.module.init = refuse
    with pytest.raises(RunError, match=r"wandb did not start \(api_key not configured\).*wandb login"):
        Logs(tmp_path, 0, batch_size=4, wandb="project")
