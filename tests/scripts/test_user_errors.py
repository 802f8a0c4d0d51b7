"""Mistakes of the user: one line that says what, where and how; exit status 2; no traceback; nothing half-written."""

import shutil

import numpy as np
import pytest
from one_line import refused
from trained_run import trained


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--sampler", "dpmp_2m"], ["dpmp_2m", "did you mean 'dpmpp_2m'"]),
        (["--grid", "karas"], ["did you mean 'karras'"]),
        (["--nfe", "0"], ["--nfe is a whole number in [1, 10000]: got 0"]),
        (["--nfe", "-3"], ["in [1, 10000]: got -3"]),
        (["--count", "0"], ["--count is a whole number in [1, 1000000]: got 0"]),
        (["--label", "12"], ["12", "10 classes"]),
        (["--label", "three"], ["label", "numbers from 0"]),
        (["--lever", "cgf(2)"], ["did you mean 'cfg'"]),
        (["--lever", "cfg("], ["cfg(", "such as"]),
        (["--lever", "cfg(2, 3, 4)"], ["cfg"]),
        (["--lever", "cfg(open('x'))"], ["such as"]),
        (["--sampler", "heun", "--nfe", "1"], ["1 network calls", "heun"]),
        (["--set", "ddim.etta=1"], ["etta", "'eta'"]),
        (["--set", "ddpm.variance=medium", "--sampler", "ddpm"], ["medium"]),
        (["--seed", "-1"], ["seeds"]),
        (["--out", "a.jpg"], [".png"]),
        (["--set", "ddim.eta=abc", "--sampler", "ddim"], ["ddim.eta is a number"]),
        (["--set", "ddim.eta=0.5"], ["ddim is not used here"]),
        (["--set", "ddim.grid=3"], ["ddim.grid is filled in"]),
        (["--set", "train.process=@VP()"], ["stays as trained"]),
        (["--set", "UNet.base=16"], ["stays as trained"]),
        (["--lever", "clip_x0(1, -1)"], ["low < high"]),
        (["--lever", "cfg(1e400)"], ["cfg.scale is a number in [-100, 100]"]),
        (["--nfe", "1000000000000"], ["--nfe is a whole number in [1, 10000]"]),
        (["--count", "99999999999999999"], ["--count is a whole number in [1, 1000000]"]),
        (["--out", "gs://bucket/a.png"], ["gcsfs"]),
        (["--set", "uniform.start=abc"], ["uniform.start is a number in (0, 1] or None"]),
        (["--set", "dpmpp_2m.lower_final=abc"], ["True or False"]),
        (["--set", "euler_maruyama.w=3"], ["euler_maruyama.w is a function (named with @ in a config)"]),
        (["--set", "euler_maruyama.w=@classical()"], ["classical"]),
        (["--set", "ddim.eta=%FOO"], ["after %"]),
    ],
)
def test_sample_refuses(fewstep, digits_run, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    refused(fewstep("sample", digits_run, *words), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_labels_and_guidance_need_classes(fewstep, tmp_path):
    np.savez(tmp_path / "plain.npz", images=np.zeros((64, 8, 8), np.uint8))
    told = ["train.data=@npz", f"npz.path={tmp_path / 'plain.npz'}", "train.steps=1", "train.batch_size=4"]
    small = ["UNet.base=8", "UNet.mult=(1,)", "UNet.blocks=1", "UNet.attention=()"]
    trained("configs/digits/flow.gin", tmp_path / "run", told + small)
    refused(fewstep("sample", tmp_path / "run", "--label", "1"), "without labels")
    refused(fewstep("sample", tmp_path / "run", "--lever", "cfg(2)"), "without labels")


def test_a_folder_that_is_no_run(fewstep, tmp_path):
    refused(fewstep("sample", tmp_path), "is not a run")
    refused(fewstep("compare", tmp_path / "nowhere"), "is not a run")


def test_compare_refuses(fewstep, digits_run, moons_run):
    refused(fewstep("compare", digits_run, "--nfe", "1,two"), "--nfe")
    refused(fewstep("compare", digits_run, "--nfe", "0,1"), "--nfe is a whole number in [1, 10000]: got 0")
    refused(fewstep("compare", digits_run, "--sampler", "ddim,eular"), "'euler'")
    refused(fewstep("compare", digits_run, "--count", "1"), "--count is a whole number in [2, 1000000]: got 1")
    refused(fewstep("compare", digits_run, "--sampler", "heun", "--nfe", "1"), "no sampler has a table")
    refused(fewstep("compare", digits_run, moons_run, "--count", "10"), "different shapes")
    refused(fewstep("compare", digits_run, digits_run, "--count", "10"), "given twice")


@pytest.mark.slow
def test_a_damaged_description_is_named_and_mended(fewstep, digits_run, tiny, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "run")
    for text in ("{}", "null", "{", '{"shape": 3, "classes": "x"}'):
        (run / "run.json").write_text(text)
        refused(fewstep("sample", run, "--out", tmp_path / "a.png"), "run.json is damaged", "remove it")
    (run / "run.json").unlink()
    refused(fewstep("sample", run, "--out", tmp_path / "a.png"), "has no run.json")
    options = [word for override in tiny for word in ("--set", override)]
    assert fewstep("train", "configs/digits/flow.gin", "--run", run, *options)[0] == 0
    assert (run / "run.json").read_bytes() == (digits_run / "run.json").read_bytes()


@pytest.mark.slow
def test_a_damaged_line_of_metrics_is_named_and_nothing_is_dropped(fewstep, digits_run, tiny, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "run")
    options = [word for override in tiny for word in ("--set", override)]
    whole = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    for damage in ('{"step": 2, "lo\n', "[1]\n", '{"loss": 1}\n'):
        text = "".join([whole[0], damage, *whole[2:]])
        (run / "metrics.jsonl").write_text(text)
        result = fewstep("train", "configs/digits/flow.gin", "--run", run, *options)
        refused(result, "metrics.jsonl, line 2 is damaged")
        assert (run / "metrics.jsonl").read_text() == text


def test_results_that_cannot_be_written_are_refused_before_any_draw(fewstep, digits_run, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(fewstep("compare", digits_run, "--out", tmp_path / "file"), "cannot make the folder", "file")
    refused(fewstep("sample", digits_run, "--out", tmp_path / "file" / "a.png"), "cannot make the folder", "file")
    (tmp_path / "folder.png").mkdir()
    refused(fewstep("sample", digits_run, "--out", tmp_path / "folder.png"), "ends in .png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.slow
def test_a_run_folder_that_cannot_be_made(fewstep, tmp_path):
    (tmp_path / "file").write_text("")
    refused(fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "file" / "run"), "cannot make", "file/run")


@pytest.mark.slow
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
