"""The verbs do what their help says."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from trained_run import trained


def test_train_leaves_a_run(digits_run):
    names = {p.name for p in digits_run.iterdir()}
    assert {"config.gin", "run.json", "metrics.jsonl", "checkpoints", "samples", "tensorboard"} <= names
    described = json.loads((digits_run / "run.json").read_text())
    assert described["shape"] == [8, 8, 1]
    assert described["classes"] == 10
    losses = [json.loads(line) for line in (digits_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(line["loss"]) for line in losses)
    assert Image.open(digits_run / "samples" / "00000006.png").size[0] > 300


@pytest.mark.slow
def test_training_a_finished_run_again_changes_nothing(fewstep, digits_run, tiny):
    before = (digits_run / "metrics.jsonl").read_bytes()
    options = [word for override in tiny for word in ("--set", override)]
    status, _, err = fewstep("train", "configs/digits/flow.gin", "--run", digits_run, *options)
    assert status == 0, err
    assert (digits_run / "metrics.jsonl").read_bytes() == before


def test_sample_writes_picture_and_numbers(fewstep, digits_run, tmp_path):
    out = tmp_path / "new" / "a.png"
    status, _, err = fewstep(
        "sample", digits_run, "--nfe", 3, "--count", 6, "--label", "3,4", "--seed", 5, "--out", out
    )
    assert status == 0, err
    assert Image.open(out).size[0] > 60
    with np.load(out.with_suffix(".npz")) as saved:
        assert saved["images"].shape == (6, 8, 8, 1)
        assert saved["seeds"].tolist() == [5, 6, 7, 8, 9, 10]
        assert saved["labels"].tolist() == [3, 4, 3, 4, 3, 4]
        assert "--label 3,4" in str(saved["command"])


def test_an_image_is_a_function_of_its_seed(fewstep, digits_run, tmp_path):
    for seed, count, name in ((5, 6, "a.png"), (9, 2, "b.png")):
        words = ("--nfe", 3, "--count", count, "--label", 3, "--seed", seed, "--out", tmp_path / name)
        assert fewstep("sample", digits_run, *words)[0] == 0
    many, few = (np.load(tmp_path / name)["images"] for name in ("a.npz", "b.npz"))
    np.testing.assert_allclose(few, many[4:], atol=1e-5)


@pytest.mark.slow
def test_levers_and_settings_reach_the_draw(fewstep, digits_run, tmp_path):
    drawn = {}
    for name, words in {
        "plain": [],
        "clipped": ["--lever", "clip_x0(-0.1, 0.1)"],
        "guided": ["--lever", "cfg(2.0)"],
        "noisy": ["--set", "ddim.eta=1.0"],
        "ddpm": ["--sampler", "ddpm"],
        "karras": ["--grid", "karras", "--set", "karras.rho=3.0"],
    }.items():
        out = tmp_path / f"{name}.png"
        chosen = [] if "--sampler" in words else ["--sampler", "ddim"]
        status, _, err = fewstep("sample", digits_run, "--nfe", 4, "--count", 4, "--out", out, *chosen, *words)
        assert status == 0, err
        drawn[name] = np.load(out.with_suffix(".npz"))["images"]
    assert np.abs(drawn["clipped"]).max() <= 0.1 + 1e-6
    for name in ("guided", "noisy", "karras"):
        assert np.abs(drawn[name] - drawn["plain"]).max() > 1e-3
    np.testing.assert_allclose(drawn["noisy"], drawn["ddpm"], atol=1e-6)


def test_points_are_drawn_too(fewstep, moons_run, tmp_path):
    status, _, err = fewstep("sample", moons_run, "--count", 50, "--out", tmp_path / "p.png")
    assert status == 0, err
    assert np.load(tmp_path / "p.npz")["images"].shape == (50, 2)


@pytest.mark.slow
def test_what_is_far_outside_the_data_is_warned_of(fewstep, moons_run, tmp_path):
    words = ("sample", moons_run, "--sampler", "pndm", "--grid", "log_snr", "--count", 20, "--out", tmp_path / "p.png")
    for nfe, warned in ((11, 1), (40, 0)):
        status, _, err = fewstep(*words, "--nfe", nfe)
        assert status == 0, err
        lines = [line for line in err.splitlines() if "outside the data's range" in line]
        assert len(lines) == warned
        assert all(line.startswith("pndm at 11 calls: far") and "--check pndm --nfe 11" in line for line in lines)


@pytest.mark.parametrize(("which", "metric"), [("digits_run", "FD-pixels"), ("moons_run", "FD-points")])
def test_compare_writes_everything(fewstep, which, metric, request, tmp_path):
    folder = request.getfixturevalue(which)
    status, out, err = fewstep(
        "compare", folder, "--nfe", "1,2,4", "--sampler", "ddim,heun,ddpm", "--count", 20, "--out", tmp_path / "c"
    )
    assert status == 0, err
    assert metric in out
    assert max(map(len, out.splitlines())) <= 80
    written = {p.name for p in (tmp_path / "c").iterdir()}
    assert written == {
        "cells", "table.csv", "table.json", "differences.csv", "curve.png", "curve.svg", "report.html"
    }  # fmt: skip
    cells = json.loads((tmp_path / "c" / "table.json").read_text())["cells"]
    assert {(c["sampler"], c["budget"]) for c in cells} == {
        ("ddim", 1), ("ddim", 2), ("ddim", 4), ("ddpm", 1), ("ddpm", 2), ("ddpm", 4), ("heun", 4),
    }  # fmt: skip
    assert all(c["passes"] == c["nfe"] for c in cells)
    assert next(c for c in cells if c["sampler"] == "heun")["nfe"] == 3


def test_guidance_is_counted_as_two_passes(fewstep, digits_run, tmp_path):
    words = ("--nfe", "2", "--sampler", "ddim", "--count", 20, "--lever", "cfg(1.5)", "--out", tmp_path)
    assert fewstep("compare", digits_run, *words)[0] == 0
    (cell,) = json.loads((tmp_path / "table.json").read_text())["cells"]
    assert (cell["nfe"], cell["passes"]) == (2, 4)


@pytest.mark.slow
def test_one_compilation_serves_a_whole_comparison(digits_run, tmp_path):
    from fewstep.cli.config.open_run import open_run
    from fewstep.evaluation.compare import compare
    from fewstep.evaluation.drawing import Line
    from fewstep.samplers import SAMPLERS

    loop = sys.modules["fewstep.samplers.loop"]._run
    before = loop._cache_size()
    lines = [Line(name, sampler) for name, sampler in SAMPLERS.items() if not sampler.needs]
    about = {"command": "", "environment": {}}
    compare(
        [open_run(digits_run)], lines, [1, 2, 3, 5, 8], folder=tmp_path, count=14, **about
    )  # no other test's number
    assert loop._cache_size() == before + 1


def cells(folder):
    """{(run, sampler, budget): metrics} of a table.json."""
    return {
        (c["run"], c["sampler"], c["budget"]): c["metrics"]
        for c in json.loads((folder / "table.json").read_text())["cells"]
    }


@pytest.mark.slow
def test_runs_compared_together_score_what_they_score_alone(fewstep, digits_run, tiny, tmp_path):
    """Each with its own network and data; settings of samplers come from the command line alone."""
    other = tmp_path / "other" / "digits"
    trained("configs/digits/flow.gin", other, [*tiny, "digits.seed=1", "train.seed=1"])
    words = ("--nfe", "1,3", "--sampler", "ddim,ddpm", "--count", 20, "--set", "ddim.eta=0.3")
    folders = {"one": [digits_run], "two": [other], "both": [digits_run, other]}
    for name, runs in folders.items():
        status, _, err = fewstep("compare", *runs, *words, "--out", tmp_path / name)
        assert status == 0, err
    both = cells(tmp_path / "both")
    assert {run for run, _, _ in both} == {str(digits_run), str(other)}  # equal names are told apart
    for run, name in ((digits_run, "one"), (other, "two")):
        for (_, sampler, budget), metrics in cells(tmp_path / name).items():
            for metric, interval in metrics.items():
                np.testing.assert_allclose(both[str(run), sampler, budget][metric], interval, rtol=1e-3)


def test_settings_of_grids_reach_the_draw_without_naming_the_grid(fewstep, digits_run, tmp_path):
    drawn = []
    for name, words in (("a", ()), ("b", ("--set", "uniform.start=0.5"))):
        out = tmp_path / f"{name}.png"
        assert (
            fewstep("sample", digits_run, "--sampler", "ddim", "--nfe", 3, "--count", 2, "--out", out, *words)[0] == 0
        )
        drawn.append(np.load(out.with_suffix(".npz"))["images"])
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3


def test_config_prints_all_that_is_set_and_trains_the_same(fewstep, tiny, tmp_path):
    options = [word for override in tiny for word in ("--set", override)]
    status, told, err = fewstep("config", "configs/digits/flow.gin", *options)
    assert status == 0, err
    assert {"adamw.b1 = 0.9", "UNet.base = 8", "train.seed = 0", "digits.held_out = 500"} <= set(told.splitlines())
    (tmp_path / "told.gin").write_text(told)
    assert fewstep("config", tmp_path / "told.gin")[1] == told


@pytest.mark.slow
def test_a_default_that_is_spelled_out_contradicts_nothing(fewstep, digits_run, tiny):
    options = [
        word
        for override in [*tiny, "train.seed=0", "adamw.b1=0.9", "denoising.weight=@native"]
        for word in ("--set", override)
    ]
    assert fewstep("train", "configs/digits/flow.gin", "--run", digits_run, *options)[0] == 0


@pytest.mark.slow
def test_a_trusted_run_is_sampled_with_trust(fewstep, tiny, tmp_path):
    from importlib.resources import files

    (tmp_path / "c.gin").write_text("import math\n" + (files("fewstep.configs") / "digits/flow.gin").read_text())
    options = [word for override in tiny for word in ("--set", override)]
    assert fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "r", "--trust", *options)[0] == 0
    status, _, err = fewstep("sample", tmp_path / "r", "--count", 2, "--out", tmp_path / "a.png")
    assert (status, "--trust" in err) == (2, True)
    assert fewstep("sample", tmp_path / "r", "--trust", "--count", 2, "--out", tmp_path / "a.png")[0] == 0


@pytest.mark.slow
def test_images_of_two_channels_are_numbers_without_a_picture(fewstep, tiny, tmp_path):
    np.savez(tmp_path / "two.npz", images=np.zeros((64, 8, 8, 2), np.uint8))
    overrides = [*tiny, "train.data=@npz", f"npz.path={tmp_path / 'two.npz'}"]
    options = [word for override in overrides for word in ("--set", override)]
    assert fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "r", *options)[0] == 0
    status, _, err = fewstep("sample", tmp_path / "r", "--count", 2, "--out", tmp_path / "a.png")
    assert status == 0, err
    assert np.load(tmp_path / "a.npz")["images"].shape == (2, 8, 8, 2)
    assert not (tmp_path / "a.png").exists()


def test_samplers_are_listed(fewstep):
    from fewstep.samplers import SAMPLERS

    status, out, _ = fewstep("samplers")
    assert status == 0
    for name, sampler in SAMPLERS.items():
        assert name in out
        assert sampler.paper in out


def test_config_prints_what_is_set(fewstep):
    status, out, _ = fewstep("config", "configs/digits/flow.gin", "--set", "adamw.lr=0.5")
    assert status == 0
    assert "adamw.lr = 0.5" in out


def test_help_imports_nothing_heavy():
    """So that it takes a fraction of a second: the imports are inside the verbs."""
    code = """
import sys
from fewstep.cli.main import main
sys.argv = ["fewstep", "--help"]
try:
    main()
except SystemExit:
    print(sorted({"jax", "numpy", "gin", "flax", "scipy", "rich.progress"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "compare" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_run_goes_on_on_another_mesh_and_in_other_parts(fewstep, tiny, digits_run, tmp_path):
    folder = shutil.copytree(digits_run, tmp_path / "run")
    words = [word for override in tiny for word in ("--set", override)]
    shutil.rmtree(folder / "checkpoints" / "6")
    status, _, err = fewstep(
        "train", "configs/digits/flow.gin", "--run", folder, *words,
        "--set", "train.mesh=(1,1,1)", "--set", "train.accumulate=2",
    )  # fmt: skip
    assert status == 0, err
    found, whole = (
        [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (folder, digits_run)
    )
    assert len(found) == 6
    assert found == pytest.approx(whole, rel=1e-4)
    status, _, err = fewstep("train", "configs/digits/flow.gin", "--run", folder, *words, "--set", "train.seed=5")
    assert status == 2
    assert "contradicts the run" in err
    assert "mesh" not in err
