"""The list of runs, whole and damaged ones, and what training says of itself in it."""

import json
import os
import re
import subprocess
import sys

import pytest
from one_line import refused

from fewstep.train.utils.files import folder_lock
from fewstep.train.utils.sealed import sealed_json


@pytest.fixture
def made(tmp_path):
    """made("name", steps, ...) -> the folder of a run without a network."""

    def make(name, steps=100, lines=(), saved=(), cells=(), **files):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        text = {
            "config.gin": f"train.seed = 0\ntrain.steps = {steps}\n",
            "run.json": json.dumps({"parameters": 1234567}),
            "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        } | {name.replace("_", "."): text for name, text in files.items()}
        for file, content in text.items():
            (folder / file).write_text(content)
        for step in saved:
            (folder / "checkpoints" / str(step) / "ema").mkdir(parents=True)
        if cells:
            (folder / "compare").mkdir()
            (folder / "compare" / "table.json").write_text(json.dumps(compared(folder.name, cells)))
        return folder

    return make


def compared(run, cells):
    floor = {run: {"FD-pixels": [0.1, 0.1, 0.1]}}
    common = {"run": run, "grid": "uniform", "swept": {}, "passes": 1.0, "ms_per_image": [1.0] * 3}
    return {
        "command": "", "runs": [run], "lines": ["ddim", "heun"], "budgets": [4, 16], "metrics": ["FD-pixels"],
        "gaps": [], "floors": floor, "notes": [], "count": 500, "seed": 0, "repeats": 1, "levers": [],
        "environment": {}, "memory": {run: None},
        "cells": [
            common
            | {"line": line, "sampler": line, "budget": nfe, "nfe": nfe, "metrics": {"FD-pixels": [value] * 3}}
            for line, nfe, value in cells
        ],
    }  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_number_is_shown_at_every_width(fewstep, made, tmp_path, monkeypatch, width):
    lines = [{"step": 90, "loss": 0.0123}, {"step": 100, "FD-pixels": 0.456}]
    made("a_run_with_a_long_name", 100, lines, saved=[100], cells=[("ddim", 4, 0.789)])
    monkeypatch.setenv("COLUMNS", str(width))
    status, out, _ = fewstep("runs", tmp_path)
    assert status == 0
    assert max(map(len, out.splitlines())) <= width
    words = " ".join(out.split())
    for part in ("a_run_with_a_long_name", "finished", "100 of 100", "0.0123", "0.456", "0.789 ddim @4", "1,234,567"):
        assert part in words


@pytest.mark.slow
def test_a_closed_output_is_no_error(tmp_path):
    command = f"{sys.executable} -m fewstep samplers >&-"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.slow
def test_a_name_that_is_no_text_is_printed(tmp_path):
    command = [sys.executable, "-m", "fewstep", "config", "configs/digits/flow.gin", "--set", "npz.path=a\udcffb"]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    words = [*command, "--set", "train.data=@npz"]
    found = subprocess.run(words, capture_output=True, text=True, check=False, env=strict)
    assert found.returncode == 0, found.stderr
    assert "a\\udcffb" in found.stdout


def listed(fewstep, folder):
    """{run: the cells of its row}."""
    status, out, err = fewstep("runs", folder)
    assert status == 0, err
    rows = [re.split(r" {2,}", line.strip()) for line in out.splitlines() if line.strip()]
    return {row[0]: row[1:] for row in rows}


def test_a_row_says_how_far_how_good_and_with_what(fewstep, made, tmp_path):
    lines = [{"step": 50, "loss": 0.5, "FD-pixels": 0.25}, {"step": 100, "loss": 0.3333}]
    scores = [("ddim", 4, None), ("heun", 16, 0.15004), ("ddim", 16, 0.15001), ("heun", 4, 0.3)]
    made("digits", lines=lines, saved=[50, 100], cells=scores)
    made("deep/er/cut", lines=lines[:1], saved=[50])
    made("deep/new")
    (tmp_path / "notes").mkdir()
    rows = listed(fewstep, tmp_path)
    assert rows["digits"] == ["finished", "100 of 100", "0.333", "0.250", "0.150 ddim @16", "1,234,567"]
    assert rows["deep/er/cut"] == ["stopped", "50 of 100", "0.500", "0.250", "1,234,567"]
    assert rows["deep/new"] == ["stopped", "0 of 100", "1,234,567"]
    assert {"digits", "deep/er/cut", "deep/new"} == {row for row, cells in rows.items() if len(cells) > 2} - {"run"}
    assert listed(fewstep, tmp_path / "digits")["digits"] == rows["digits"]


def test_the_lock_tells_who_runs_and_is_left_alone(fewstep, made, tmp_path):
    folder = made("digits")
    before = sorted(folder.iterdir())
    assert listed(fewstep, tmp_path)["digits"][0] == "stopped"
    assert sorted(folder.iterdir()) == before
    with folder_lock(folder):
        assert listed(fewstep, tmp_path)["digits"][0] == "running"
    with folder_lock(folder):  # nothing of the listing holds it
        pass


def test_what_is_damaged_is_said_in_its_row(fewstep, made, tmp_path):
    made("a", metrics_jsonl="{]\n{}\n")
    made("b", run_json="{", lines=[{"step": 3, "loss": None}])
    made("c", config_gin="")
    made("d", cells=[("ddim", 4, 0.5)])
    (tmp_path / "d/compare/table.json").write_text("{")
    rows = listed(fewstep, tmp_path)
    assert "metrics.jsonl, line 1 is damaged" in rows["a"][-1]
    assert rows["b"][:3] == ["stopped", "3 of 100", "NaN"]
    assert rows["b"][-1] == "run.json is damaged"
    assert rows["c"][-1] == "config.gin has no train.steps"
    assert rows["d"][:1] == ["stopped"]
    assert rows["d"][-1] == "compare/table.json is damaged"


@pytest.mark.parametrize(
    "damage",
    [{"metrics": None}, {"metrics": 3}, {"metrics": ["FD-points"]}, {"cells": [{}]}, {"floors": []}, {"gaps": [1]}],
)
def test_a_damaged_comparison_stays_in_its_row(fewstep, made, tmp_path, damage):
    made("a", cells=[("ddim", 4, 0.5)])
    made("b", cells=[("ddim", 4, 0.5)])
    table = json.loads((tmp_path / "a/compare/table.json").read_text())
    (tmp_path / "a/compare/table.json").write_text(json.dumps(table | damage))
    rows = listed(fewstep, tmp_path)
    assert rows["a"][-1] == "compare/table.json is damaged"
    assert rows["b"][-2:] == ["0.500 ddim @4", "1,234,567"]


def test_a_changed_comparison_is_said_with_the_way_out(fewstep, made, tmp_path):
    made("a", cells=[("ddim", 4, 0.5)])
    path = tmp_path / "a/compare/table.json"
    path.write_text(sealed_json(json.loads(path.read_text())))
    assert listed(fewstep, tmp_path)["a"][-2:] == ["0.500 ddim @4", "1,234,567"]
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert listed(fewstep, tmp_path)["a"][-1] == "compare/table.json has changed since fewstep wrote it"
    assert "`fewstep seal RUN` accepts the changes" in fewstep("runs", tmp_path)[1]


def test_a_comparison_without_frechet_distances_has_no_best(fewstep, made, tmp_path):
    made("a", cells=[("ddim", 4, 0.5)])
    table = json.loads((tmp_path / "a/compare/table.json").read_text())
    (tmp_path / "a/compare/table.json").write_text(json.dumps(table | {"metrics": ["KID-pixels"]}))
    assert listed(fewstep, tmp_path)["a"][-1] == "1,234,567"


def test_names_are_whole_wherever_one_stands(fewstep, made, tmp_path, monkeypatch):
    made("digits", cells=[("ddim", 4, 0.5)])
    made("deep/er/cut")
    monkeypatch.chdir(tmp_path)
    assert {"digits", "deep/er/cut"} <= set(listed(fewstep, "."))
    assert {"er/cut"} <= set(listed(fewstep, "deep"))
    monkeypatch.chdir(tmp_path / "digits")
    assert "0.500 ddim @4" in listed(fewstep, ".")["digits"]
    assert {"digits"} <= set(listed(fewstep, ".."))


def test_the_step_is_the_farthest_that_is_known_of(fewstep, made, tmp_path):
    made("saved", lines=[{"step": 40, "loss": 1.0}], saved=[20, 60])
    made("logged", lines=[{"step": 40, "loss": 1.0}], saved=[20])
    rows = listed(fewstep, tmp_path)
    assert (rows["saved"][1], rows["logged"][1]) == ("60 of 100", "40 of 100")


def test_a_folder_called_config_gin_is_no_run(fewstep, tmp_path):
    (tmp_path / "odd" / "config.gin").mkdir(parents=True)
    refused(fewstep("runs", tmp_path), "no runs in")
    refused(fewstep("runs", tmp_path / "odd"), "no runs in")


def test_where_there_are_no_runs(fewstep, tmp_path):
    refused(fewstep("runs", tmp_path), "no runs in", "config.gin")
    refused(fewstep("runs", tmp_path / "nowhere"), "no runs in", "nowhere")


def test_the_list_needs_no_jax(made, tmp_path):
    made("digits", cells=[("ddim", 4, 0.5)])
    code = "import sys; from fewstep.cli.verbs.runs import main; main(sys.argv[1]); "
    code += "print({'jax', 'gin'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert "0.500 ddim @4" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
def test_the_last_distance_of_training_is_that_of_compare(digits_run, tmp_path):
    from fewstep.cli.config.open_run import open_run
    from fewstep.evaluation.compare import compare
    from fewstep.evaluation.drawing import Line
    from fewstep.samplers import SAMPLERS

    last = json.loads((digits_run / "metrics.jsonl").read_text().splitlines()[-1])
    about = {"command": "", "environment": {}}
    lines = [Line(name, SAMPLERS[name]) for name in ("ddim", "dpmpp_2m")]
    result = compare([open_run(digits_run)], lines, [16], folder=tmp_path, **about)
    assert last["FD-pixels"] == pytest.approx(
        result.cell("digits", "dpmpp_2m", 16).metrics["FD-pixels"].value, rel=1e-6
    )
