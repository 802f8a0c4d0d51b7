"""fewstep import and export of a pipeline that diffusers trained on the digits (tests/foreign/README.md)."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from one_line import refused

import fewstep as fewstep_module
from fewstep.cli.config.load import BINDINGS, canonical_text, experiment, load
from fewstep.cli.config.open_run import open_run
from fewstep.errors import UsageError
from fewstep.evaluation.data import with_data
from fewstep.train.utils.sealed import read_config
from fewstep.zoo.files import safetensors

DIGITS = Path(__file__).parents[1] / "foreign" / "ddpm-digits"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_what_was_found_is_said(fewstep, tmp_path):
    status, _, err = fewstep("import", DIGITS, "--run", tmp_path / "run")
    assert status == 0, err
    for said in ("UNet2DModel of diffusers 0.42.1", "701,345 parameters", "images 8x8x1", "Discrete", "Indexed"):
        assert said in err
    assert "licence unknown" in err
    assert "clip_sample True" in err
    assert f'fewstep sample {tmp_path / "run"} --sampler ddpm --nfe 1000 --grid leading --lever "clip_x0()"' in err
    status, out, _ = fewstep("runs", tmp_path)
    assert "imported" in out


def test_the_command_that_reproduces_it_is_one(fewstep, imported, tmp_path):
    options = json.loads((imported / "run.json").read_text())["imported"]["options"]
    words = [word.replace("1000", "4") for word in shlex.split(options)]
    status, _, err = fewstep("sample", imported, *words, "--count", "2", "--out", tmp_path / "s.png")
    assert status == 0, err


def test_the_config_is_canonical(imported):
    text = read_config(imported / "config.gin")
    with BINDINGS:
        load(imported / "config.gin", includes=False)
        experiment()
        assert canonical_text() == text


def test_an_import_is_whole_or_nothing(fewstep, tmp_path, monkeypatch):
    from fewstep.zoo import importing

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "write_description", stop)
        assert fewstep("import", DIGITS, "--run", tmp_path / "run")[0] == 130
    assert list(tmp_path.iterdir()) == []
    assert fewstep("import", DIGITS, "--run", tmp_path / "run")[0] == 0
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    refused(fewstep("import", DIGITS, "--run", tmp_path / "run"), "is a run already", "a new folder")
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_mistakes_are_one_line(fewstep, tmp_path, monkeypatch):
    new = ("--run", tmp_path / "run")
    refused(fewstep("import", tmp_path / "nothing", *new), "does not exist", "nothing is downloaded")
    refused(fewstep("sample", DIGITS), "is not a run", f"fewstep import {DIGITS}")
    refused(fewstep("import", tmp_path, *new), "does not say which model it holds", "--as NAME", "docs/import.md")
    refused(fewstep("import", tmp_path, *new, "--as", "adm-265"), "no preset is called 'adm-265'", "adm-256")
    refused(fewstep("import", DIGITS, *new, "--as", "adm"), "says itself which model it holds", "leave out --as")
    refused(fewstep("sample", tmp_path / "nothing"), "is not a run: it does not exist")
    refused(fewstep("import", DIGITS, *new, "--data", "digitz"), "digits, or the path of a folder")
    wrong = np.zeros((20, 9, 9, 1), np.uint8)
    np.savez(tmp_path / "wrong.npz", images=wrong)
    refused(fewstep("import", DIGITS, *new, "--data", tmp_path / "wrong.npz"), "9x9x1", "8x8x1")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused(fewstep("import", DIGITS, *new), "not enough disk space", "MB")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "change", "parts"),
    [
        ("unet/config.json", {"block_out_channels": [32, 32]}, ["another network"]),
        ("unet/config.json", {"act_fn": "mish"}, ["act_fn", "mish"]),
        ("unet/config.json", {"up_block_types": ["UpBlock2D", "UpBlock2D"]}, ["mirror"]),
        ("unet/config.json", {"_class_name": "UNet3DModel"}, ["UNet3DModel"]),
        ("unet/config.json", {"layers_per_block": 2}, ["no array"]),
        ("scheduler/scheduler_config.json", {"_class_name": "MysteryScheduler"}, ["MysteryScheduler"]),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, ["prediction_type"]),
    ],
)
def test_other_networks_are_refused_by_what_differs(fewstep, tmp_path, file, change, parts):
    shutil.copytree(DIGITS, tmp_path / "copy")
    path = tmp_path / "copy" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(fewstep("import", tmp_path / "copy", "--run", tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_it_is_sampled_with_levers(imported):
    run = open_run(imported)
    plain = run.draw("ddim", 10, range(4), levers=["clip_x0"])
    assert plain.shape == (4, 8, 8, 1)
    assert np.isfinite(plain).all()
    assert abs(plain - run.draw("ddim", 10, range(4), levers=["clip_x0", "skip_tuning(0.9)"])).max() > 1e-3
    assert run.draw("ddim", 10, range(2), levers=["upsample_guidance(2)"]).shape == (2, 16, 16, 1)
    with pytest.raises(UsageError, match="trained without labels"):
        run.draw("ddim", 10, range(2), levers=["cfg(2)"])


@pytest.mark.slow
def test_parameters_in_half_precision(imported):
    half, whole = open_run(imported, dtype="bfloat16"), open_run(imported)
    images = [run.draw("ddim", 4, range(4), levers=["clip_x0"]) for run in (half, whole)]
    assert 0 < abs(images[0] - images[1]).mean() < 0.05
    with pytest.raises(UsageError, match="float32 or bfloat16"):
        open_run(imported, dtype="bf16")


@pytest.mark.slow
def test_runs_without_data_are_compared_by_trajectories(fewstep, imported, tmp_path):
    assert fewstep("import", DIGITS, "--run", tmp_path / "run")[0] == 0
    options = ("--nfe", "2", "--count", "4", "--sampler", "ddim,dpmpp_2m")
    status, out, err = fewstep("compare", tmp_path / "run", *options)
    assert status == 0, err
    assert "trajectory" in out
    refused(fewstep("compare", tmp_path / "run", *options, "--metric", "FD"), "no data", "--data")
    status, out, err = fewstep("compare", tmp_path / "run", *options, "--data", "digits", "--metric", "FD")
    assert status == 0, err
    assert "FD-pixels" in out
    refused(fewstep("stats", tmp_path / "run"), "not known", "--data digits")
    assert fewstep("stats", tmp_path / "run", "--data", "digits", "--count", "20")[0] == 0
    assert fewstep("pairs", tmp_path / "run", "--count", "2", "--nfe", "3")[0] == 0
    np.savez(tmp_path / "wrong.npz", images=np.zeros((20, 9, 9, 1), np.uint8))
    words = ("compare", tmp_path / "run", *options, "--data", tmp_path / "wrong.npz")
    refused(fewstep(*words), "9, 9, 1", "data of its kind")
    refused(fewstep("train", imported / "config.gin", "--run", imported), "was imported", "--init-from")


def test_the_network_we_do_not_know_of_the_page(monkeypatch):
    """With a stand-in of torch's arrays: NumPy's, in the form of a network that returns zeros."""
    (block,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "import.md").read_text(), re.S)
    block = block.replace("network = ...", "network = lambda x, t: 0 * x")
    block = block.replace("t.long()", "t").replace('framework="torch"', 'framework="numpy"')
    names = {}
    exec(block, names)
    assert names["images"].shape == (16, 28, 28, 1)


def test_paths_of_the_run(fewstep, tmp_path):
    (tmp_path / "file").write_text("")
    refused(fewstep("import", DIGITS, "--run", tmp_path / "file" / "run"), "a file is in the way")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert fewstep("import", DIGITS, "--run", tmp_path / "link")[0] == 0
    assert (tmp_path / "there" / "config.gin").exists()
    assert (tmp_path / "link").is_symlink()


def test_weights_that_are_not_finite_are_refused(fewstep, tmp_path):
    shutil.copytree(DIGITS, tmp_path / "broken")
    arrays = {name: np.array(array) for name, array in safetensors.read(DIGITS / WEIGHTS).items()}
    arrays["conv_in.bias"][3] = np.nan
    safetensors.write(tmp_path / "broken" / WEIGHTS, arrays)
    refused(fewstep("import", tmp_path / "broken", "--run", tmp_path / "run"), "conv_in.bias", "not finite")


@pytest.mark.slow
def test_an_imported_run_is_not_measured_against_other_kinds_of_data(imported, tmp_path):
    """In Python, where data may be given for it."""
    run = fewstep_module.import_run(DIGITS, tmp_path / "run")
    assert not run.has_data
    images = np.zeros((40, 8, 8, 1), np.uint8)
    found = fewstep_module.compare(run, nfe=1, samplers="ddim", count=4, data=images, metrics="FD")
    assert found.metrics == ["FD-pixels"]
    with pytest.raises(UsageError, match="not of its kind"):
        with_data([replace(run, model=replace(run.model, classes=3)), open_run(imported)], ["FD"], False)
