"""What a user sees while a command runs, and what it leaves when it is refused or killed."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from etils import epath
from one_line import refused
from PIL import Image

import fewstep as package
from fewstep.evaluation.report.training import write_curve
from fewstep.train.logs import cost
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.progress import progress
from fewstep.train.utils.temporary import temporary


@pytest.mark.slow
def test_training_says_what_it_costs(fewstep, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "MEASURED", 0.0)
    words = [word for override in [*tiny, "train.preview_every=100"] for word in ("--set", override)]
    status, _, err = fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "run", *words)
    assert status == 0, err
    lines = err.splitlines()
    assert next(line for line in lines if line.startswith("0/6")) == "0/6 steps  compiling"
    (told,) = [line for line in lines if "GFLOP" in line]
    found = re.fullmatch(r"([\d,]+) parameters, ([\d.]+) GFLOP and [\d.]+ m?s per step: 6 steps take .+ here", told)
    parameters = int(found[1].replace(",", ""))
    assert f'"parameters": {parameters}' in (tmp_path / "run/run.json").read_text()
    # Each weight of a convolution is used at 8 x 8 places: two operations forward, and about twice as many backward.
    assert 0.3 < float(found[2]) * 1e9 / (3 * 2 * 16 * 64 * parameters) < 3
    assert Image.open(tmp_path / "run/curve.png").size[0] > 500
    assert f"the loss: {tmp_path / 'run/curve.png'}" in lines[-1]


def test_the_cost_without_a_count_of_operations(monkeypatch, capsys):
    """Some devices do not count, and loops over parts of a batch are counted once."""
    monkeypatch.setattr(cost, "MEASURED", 0.0)
    state = SimpleNamespace(params={"net": np.zeros(1234)})
    for count, parts in ((None, 1), ({}, 1), ({"flops": 1e9}, 2)):
        step = SimpleNamespace(lower=lambda *_, count=count: SimpleNamespace(cost_analysis=lambda: count))
        told = cost.Cost(step, 6, parts)
        told.tell(1, state, None)
        told.tell(2, state, None)
        assert re.fullmatch(r"1,234 parameters, [\d.e-]+ m?s per step: 6 steps take .+ here\n", capsys.readouterr().err)


def test_a_curve_needs_a_loss(tmp_path):
    lines = [{"step": 1, "loss": None}, {"step": 2, "loss": None}, {"step": 3, "FD-pixels": 1.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert write_curve(epath.Path(tmp_path)) is None
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 0.5}\n{"step": 5, "loss": -0.5}\n')
    assert write_curve(epath.Path(tmp_path)).exists()


def test_sampling_shows_images_done(fewstep, digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr("fewstep.train.run.run.progress", partial(progress, after=0))
    status, _, err = fewstep("sample", digits_run, "--count", 600, "--nfe", 1, "--out", tmp_path / "a.png")
    assert status == 0, err
    lines = [line for line in err.splitlines() if " images" in line]
    assert lines[0] == "0/600 images  compiling"
    assert any(line.startswith("600/600 images") for line in lines)


@pytest.mark.parametrize("verb", ["sample", "compare"])
def test_steps_are_network_calls_here(fewstep, digits_run, verb):
    for words in (["--steps", "4"], ["--num-inference-steps=4"]):
        refused(fewstep(verb, digits_run, *words), words[0], "network calls", "--nfe")


def test_a_run_is_shown_in_a_line(digits_run):
    run = package.open_run(digits_run)
    assert repr(run) == f"Run({str(digits_run)!r}, step 6, 8x8x1, 10 classes)"


def test_results_do_not_spread_over_a_run(fewstep, digits_run):
    before = {path.name for path in digits_run.iterdir()}
    words = ("--nfe", 1, "--sampler", "ddim", "--count", 8, "--out", digits_run)
    status, _, err = fewstep("compare", digits_run, *words)
    assert status == 0, err
    assert {path.name for path in digits_run.iterdir()} == before | {"compare"}
    assert (digits_run / "compare/table.json").exists()


def test_refused_pairs_leave_nothing(fewstep, digits_run, tmp_path):
    noisy = ("pairs", digits_run, "--count", 4, "--sampler", "ddim", "--set", "ddim.eta=1.0")
    refused(fewstep(*noisy, "--out", tmp_path / "a" / "pairs"), "deterministic")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("")
    refused(fewstep("pairs", digits_run, "--count", 4, "--out", tmp_path / "mine"), "other files")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "notes.txt"]


def test_what_a_killed_process_was_writing_is_removed_by_the_next_one(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    end = temporary()
    names = {"ours": end, "dead": end.replace(f"-{os.getpid()}-", f"-{ended.pid}-")}
    other = f"{int(end[:8], 16) ^ 1:08x}"
    names["elsewhere"] = names["dead"].replace(end[:8], other)  # of a process of another machine, which may be alive
    for name, suffix in names.items():
        (tmp_path / f"{name}.{suffix}").write_text("half")
    (tmp_path / "mine.tmp").write_text("")
    write_atomic(tmp_path / "new.txt", "whole")
    left = {path.name.split(".")[0] for path in tmp_path.iterdir()}
    assert left == {"ours", "elsewhere", "mine", "new"}


def test_pictures_start_from_what_another_tool_saved(fewstep, digits_run, tmp_path):
    """Upright, as viewers show them: a photograph may be stored on its side."""
    picture = Image.new("L", (40, 20), "white")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "tall.jpg", exif=exif)
    words = ("--from", tmp_path / "tall.jpg", "--count", 1, "--nfe", 2, "--out", tmp_path / "a.png")
    status, _, err = fewstep("sample", digits_run, *words)
    assert status == 0, err
    assert "has 20x40 pixels and was reduced to 8x8" in err
    assert np.load(tmp_path / "a.npz")["images"].shape == (1, 8, 8, 1)
