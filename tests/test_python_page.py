"""docs/python.md: its examples run word for word, in a folder of their own, each with the imports that it shows."""

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fewstep
from fewstep.cli.main import main

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
TRAIN, OPEN, DENOISER, SAMPLER, OBJECTIVE, DISTANCES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ALLOWED = {"fewstep", "jax", "flax", "optax", "numpy"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("block", [TRAIN, OPEN, DENOISER, SAMPLER, OBJECTIVE, DISTANCES])
def test_an_example_is_a_dozen_lines_and_imports_little(block):
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert names <= ALLOWED
    assert len([line for line in block.splitlines() if line.strip()]) - len(imports) <= 12


@pytest.mark.slow
def test_an_own_network_from_training_to_the_command_line(monkeypatch, capsys, tmp_path):
    shown = {}
    exec(TRAIN, shown)
    run, samples = shown["run"], shown["samples"]
    radius = np.linalg.norm(samples, axis=1)
    assert samples.shape == (1000, 2)
    assert abs(radius.mean() - 0.7) < 0.1
    exec(TRAIN.partition("samples = ")[0], shown)  # the same call again: the run is finished
    assert shown["run"].weights == run.weights
    exec(OPEN, shown)
    np.testing.assert_allclose(shown["run"].draw("dpmpp_2m", nfe=8, seeds=range(3)), samples[:3], atol=1e-5)
    assert cli(monkeypatch, "sample", "runs/ring") == 2
    assert "open_run(folder, network=...)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_of_a_file_is_imported_by_the_command_line(monkeypatch, tmp_path):
    source = TRAIN.partition("angle = ")[0]
    (tmp_path / "nets.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import nets  # pyright: ignore[reportMissingImports]

    data = np.random.default_rng(0).normal(0, 0.3, (200, 2)).clip(-1, 1)
    run = fewstep.train_run("runs/ring", data=data, network=nets.Net, steps=4, save_every=4, preview_every=4)
    assert cli(monkeypatch, "sample", "runs/ring", "--trust", "--count", "4", "--nfe", "2") in (0, None)
    drawn = np.load("samples.npz")["images"]
    np.testing.assert_allclose(run.draw("dpmpp_2m", nfe=2, seeds=range(4)), drawn, atol=1e-5)


def test_samplers_are_compared_on_a_function(capsys):
    shown = {}
    exec(DENOISER, shown)
    values = {(c.line, c.budget): c.metrics["FD-points"].value for c in shown["result"].cells}
    assert values["dpmpp_2m", 4] < values["ddim", 4]
    assert "dpmpp_2m" in capsys.readouterr().out


def test_an_own_sampler():
    shown = {}
    exec(SAMPLER, shown)
    values = {(c.line, c.budget): c.metrics["FD-points"].value for c in shown["result"].cells}
    assert values["mine", 8] == values["ddim", 8]
    assert shown["table"].nfe == 8


@pytest.mark.slow
def test_an_own_objective():
    shown = {}
    exec(OBJECTIVE, shown)
    assert shown["run"].step == 200
    assert shown["run"].draw("heun", nfe=4, seeds=range(2)).shape == (2, 2)


def test_distances(capsys):
    exec(DISTANCES, {})
    assert re.search(r"FD-pixels +\d", capsys.readouterr().out)


def cli(monkeypatch, *words):
    """The exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["fewstep", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code
