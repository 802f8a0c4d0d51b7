"""Mistakes of the user: one line that says what, where and how; exit status 2; no traceback; nothing half-written."""

import numpy as np
import pytest


def refused(result, *parts):
    status, _, err = result
    lines = err.strip().splitlines()
    assert status == 2, err
    assert lines[-1].startswith("fewstep: "), err
    assert "Traceback" not in err
    for part in parts:
        assert part in lines[-1], err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--sampler", "dpmp_2m"], ["dpmp_2m", "did you mean 'dpmpp_2m'"]),
        (["--grid", "karas"], ["did you mean 'karras'"]),
        (["--nfe", "0"], ["--nfe 0", "at least 1"]),
        (["--nfe", "-3"], ["at least 1"]),
        (["--count", "0"], ["--count 0"]),
        (["--label", "12"], ["12", "10 classes"]),
        (["--label", "three"], ["--label", "whole numbers"]),
        (["--lever", "cgf(2)"], ["did you mean 'cfg'"]),
        (["--lever", "cfg("], ["cfg(", "such as"]),
        (["--lever", "cfg(2, 3, 4)"], ["cfg"]),
        (["--lever", "cfg(open('x'))"], ["such as"]),
        (["--sampler", "heun", "--nfe", "1"], ["1 network calls", "heun"]),
        (["--set", "ddim.etta=1"], ["etta", "'eta'"]),
        (["--set", "ddpm.variance=medium", "--sampler", "ddpm"], ["medium"]),
        (["--seed", "-1"], ["seeds"]),
        (["--out", "a.jpg"], [".png"]),
    ],
)
def test_sample_refuses(fewstep, digits_run, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    refused(fewstep("sample", digits_run, *words), *parts)
    assert list(tmp_path.iterdir()) == []


def test_labels_and_guidance_need_classes(fewstep, tmp_path):
    from scripts import train

    np.savez(tmp_path / "plain.npz", images=np.zeros((64, 8, 8), np.uint8))
    told = ["train.data=@npz", f"npz.path={tmp_path / 'plain.npz'}", "train.steps=1", "train.batch_size=4"]
    small = ["UNet.base=8", "UNet.mult=(1,)", "UNet.blocks=1", "UNet.attention=()"]
    train.main("configs/digits/flow.gin", tmp_path / "run", told + small, False)
    refused(fewstep("sample", tmp_path / "run", "--label", "1"), "without labels")
    refused(fewstep("sample", tmp_path / "run", "--lever", "cfg(2)"), "without labels")


def test_a_folder_that_is_no_run(fewstep, tmp_path):
    refused(fewstep("sample", tmp_path), "is not a run")
    refused(fewstep("compare", tmp_path / "nowhere"), "is not a run")


def test_compare_refuses(fewstep, digits_run, moons_run):
    refused(fewstep("compare", digits_run, "--nfe", "1,two"), "--nfe")
    refused(fewstep("compare", digits_run, "--nfe", "0,1"), "at least 1")
    refused(fewstep("compare", digits_run, "--sampler", "ddim,eular"), "'euler'")
    refused(fewstep("compare", digits_run, "--count", "1"), "--count 1")
    refused(fewstep("compare", digits_run, "--sampler", "heun", "--nfe", "1"), "no sampler has a table")
    refused(fewstep("compare", digits_run, moons_run, "--count", "10"), "different shapes")


CONFIG = """
train.data = @digits
train.network = @UNet
train.objective = @denoising()
train.optimizer = @adamw
train.steps = 2
UNet.base = 8
"""


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("UNet.bse = 3", ["bse", "'base'", "line 8"]),
        ("train.data = @digit", ["digit", "'digits'"]),
        ("UNt.base = 3", ["UNt", "'UNet'"]),
        ("train.steps = 0", ["train.steps", "at least 1"]),
        ("train.steps = 'many'", ["train.steps", "many"]),
        ("train.seed = -1", ["train.seed"]),
        ("train.ema = 0.999", ["train.ema"]),
        ("train.process = 3", ["train.process"]),
        ("train.data = 3", ["train.data"]),
        ("train.steps = oops", ["oops", "line 8"]),
        ("train.batch_size = 100000", ["100000", "1297"]),
        ("train.mesh = (2, 1, 1)", ["mesh", "2 devices"]),
        ("import os", ["import", "--trust", "line 8"]),
        ("from os import path", ["import", "--trust", "line 8"]),
        ("UNet.mult = (1, 2, 2, 2, 2)", ["8", "16"]),
        ("train.network = @MLP", ["(8, 8, 1)", "UNet"]),
    ],
)
def test_bad_configs(fewstep, tmp_path, line, parts):
    (tmp_path / "c.gin").write_text(CONFIG + line + "\n")
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


def test_import_hidden_in_an_include_is_refused(fewstep, tmp_path):
    (tmp_path / "b.gin").write_text("import os\n")
    (tmp_path / "c.gin").write_text("include 'b.gin'\n" + CONFIG)
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), "b.gin", "--trust")


def test_import_hidden_in_an_override_is_refused(fewstep, tmp_path):
    refused(fewstep("config", "configs/digits/flow.gin", "--set", "train.steps=1\nimport os"), "--set")


def test_trust_allows_imports(fewstep, tmp_path):
    (tmp_path / "c.gin").write_text("import math\n" + CONFIG)
    assert fewstep("config", tmp_path / "c.gin", "--trust")[0] == 0


def test_missing_config_suggests_one(fewstep, tmp_path):
    refused(fewstep("train", "configs/digits/flo.gin", "--run", tmp_path / "run"), "configs/digits/flow.gin")


def test_unset_part_is_named(fewstep, tmp_path):
    (tmp_path / "c.gin").write_text("train.steps = 2\n")
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), "data", "required")


def test_a_run_folder_that_cannot_be_made(fewstep, tmp_path):
    (tmp_path / "file").write_text("")
    refused(fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "file" / "run"), "cannot make", "file/run")


def test_a_folder_of_other_things_is_left_alone(fewstep, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    refused(fewstep("train", "configs/digits/flow.gin", "--run", tmp_path), "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_config_that_contradicts_the_run(fewstep, digits_run, tiny):
    before = {p: p.read_bytes() for p in digits_run.iterdir() if p.is_file()}
    options = [word for override in [*tiny, "adamw.lr=0.5"] for word in ("--set", override)]
    result = fewstep("train", "configs/digits/flow.gin", "--run", digits_run, *options)
    refused(result, "contradicts", "-adamw.lr = 0.002", "+adamw.lr = 0.5")
    assert before == {p: p.read_bytes() for p in digits_run.iterdir() if p.is_file()}


BAD = {
    "nan": (np.full((8, 4, 4), np.nan, np.float32), "NaN"),
    "dtype": (np.zeros((8, 4, 4), np.int64), "int64"),
    "rank": (np.zeros((8,), np.float32), "shape (8,)"),
    "none": (np.zeros((0, 4, 4), np.uint8), "empty"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images(fewstep, tmp_path, kind):
    images, part = BAD[kind]
    np.savez(tmp_path / "bad.npz", images=images)
    words = ("--set", "train.data=@npz", "--set", f"npz.path={tmp_path / 'bad.npz'}")
    refused(fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "run", *words), "bad.npz", part)


def test_bad_files_and_labels(fewstep, tmp_path):
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "labels.npz", images=np.zeros((8, 4, 4), np.uint8), labels=np.array([0, 1, 2, 3, 4, 5, 6, 70]))
    for name, extra, parts in (
        ("empty.npz", [], ["empty.npz", "0 bytes"]),
        ("absent.npz", [], ["absent.npz", "no such file"]),
        ("labels.npz", ["--set", "npz.classes=10"], ["labels", "image 7", "70"]),
    ):
        words = ("--set", "train.data=@npz", "--set", f"npz.path={tmp_path / name}", *extra)
        refused(fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "run", *words), *parts)
