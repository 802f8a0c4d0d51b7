"""Mistakes in configs and overrides: nothing is bound, run or written that was not meant."""

import sys

import pytest
from one_line import refused

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
        ("train.steps = 0", ["line 8: train.steps is a whole number in [1, 1000000000], not 0"]),
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
        ("train.prediction = %EPS", ["alpha = 0", "VELOCITY"]),
        ("train.prediction = %VELOCTY", ["VELOCITY"]),
        ("train.objective = @denoising", ["@denoising()"]),
        ("train.data = @npz", ["npz", "path", "set it in the config"]),
        ("train.data = @npz\nnpz.path = 5", ["npz.path is a text in quotes, not 5", "line 9"]),
        ("UNet.shape = (8, 8)", ["UNet.shape is filled in", "line 8"]),
        ("UNet.mult = 3", ["UNet.mult is a tuple", "line 8"]),
        ("UNet.mult = ()", ["mult = ()"]),
        ("UNet.dtype = 'float99'", ["float99", "UNet"]),
        ("adamw.lr = 'abc'", ["adamw.lr is a number", "line 8"]),
        ("digits.seed = 1.5", ["digits.seed is a whole number", "line 8"]),
        ("train.mesh = (1, 1)", ["mesh = (1, 1)", "three"]),
        ("train.mesh = (-1, -1, 1)", ["mesh"]),
        ("denoising.label_drop = 2.0", ["line 8: denoising.label_drop is a number in [0, 1], not 2.0"]),
        ("train.process = @Shifted()\nShifted.shift = 0.0", ["Shifted.shift is a number in (0, 1000], not 0.0"]),
        ("train.steps = (1", ["not closed"]),
        ("train.wandb = 3", ["train.wandb is a text in quotes or None", "line 8"]),
        ("train.wandb = ''", ["train.wandb", "project"]),
    ],
)
def test_bad_configs(fewstep, tmp_path, line, parts):
    (tmp_path / "c.gin").write_text(CONFIG + line + "\n")
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_wandb_that_is_not_installed_is_said_before_anything_is_written(fewstep, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (tmp_path / "c.gin").write_text(CONFIG + "train.wandb = 'project'\n")
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), "pip install 'fewstep[wandb]'")
    assert not (tmp_path / "run").exists()


def test_import_hidden_in_an_include_is_refused(fewstep, tmp_path):
    (tmp_path / "b.gin").write_text("import os\n")
    (tmp_path / "c.gin").write_text("include 'b.gin'\n" + CONFIG)
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), "b.gin", "--trust")


def test_import_hidden_in_an_override_is_refused(fewstep, tmp_path):
    refused(fewstep("config", "configs/digits/flow.gin", "--set", "train.steps=1\nimport os"), "--set")


def test_includes_are_read_beside_the_config_and_from_nowhere_else(fewstep, tmp_path, monkeypatch):
    """gin alone would read ./b.gin, whatever was checked."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.gin").write_text("adamw.lr = 0.25\n")
    (tmp_path / "b.gin").write_text("import os\nadamw.lr = 0.5\n")
    (tmp_path / "sub" / "c.gin").write_text(f"UNet.blocks = 1\ninclude 'b.gin'\n{CONFIG}train.seeed = 1\n")
    monkeypatch.chdir(tmp_path)
    refused(fewstep("config", "sub/c.gin"), "sub/c.gin, line 10", "seeed")  # lines are still those of the file
    (tmp_path / "sub" / "c.gin").write_text(f"UNet.blocks = 1\ninclude 'b.gin'\n{CONFIG}")
    status, told, err = fewstep("config", "sub/c.gin")
    assert status == 0, err
    assert "adamw.lr = 0.25" in told
    assert "UNet.blocks = 1" in told
    (tmp_path / "sub" / "b.gin").write_text("include 'c.gin'\n")
    refused(fewstep("config", "sub/c.gin"), "includes itself")
    (tmp_path / "sub" / "b.gin").unlink()
    refused(fewstep("config", "sub/c.gin"), "line 2", "no file", "sub/b.gin")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("steps=3", ["name.parameter=value"]),
        ("=3", ["name.parameter=value"]),
        ("adamw.lr=nan", ["adamw.lr is a number"]),
        ("ddim.eta=1.0", ["nothing here uses ddim.eta"]),
        ("MLP.width=3", ["nothing here uses MLP.width"]),
        ("npz.path=(1", ["not closed"]),
        ("x/adamw.lr=3", ["name.parameter=value"]),
        ("#a.b=3", ["name.parameter=value"]),
        ("denoising.times=3", ["denoising.times is a function (named with @ in a config)"]),
    ],
)
def test_bad_overrides(fewstep, tmp_path, override, parts):
    result = fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "run", "--set", override)
    refused(result, f"--set {override}", *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("typed", "line"), [(".001", "adamw.lr = 0.001"), ("1e-3", "adamw.lr = 0.001"), ("1", "= 1")])
def test_numbers_as_people_type_them(fewstep, tiny, typed, line):
    options = [word for override in tiny for word in ("--set", override)]
    assert line in fewstep("config", "configs/digits/flow.gin", *options, "--set", f"adamw.lr={typed}")[1]


def test_a_name_may_be_written_with_its_module(fewstep, tiny):
    options = [word for override in (*tiny, "optimizers.adamw.lr=0.5") for word in ("--set", override)]
    status, told, err = fewstep("config", "configs/digits/flow.gin", *options)
    assert status == 0, err
    assert "adamw.lr = 0.5" in told


def test_trusted_code_brings_its_own_parts(fewstep, tiny, tmp_path, monkeypatch):
    (tmp_path / "mine_parts.py").write_text(
        "import gin, optax\n\n@gin.configurable\ndef my_sgd(steps, rate=0.1):\n    return optax.sgd(rate)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = f"import mine_parts\n{CONFIG}train.optimizer = @my_sgd\nmy_sgd.rate = 0.25\n"
    (tmp_path / "c.gin").write_text(text)
    status, told, err = fewstep("config", tmp_path / "c.gin", "--trust")
    assert status == 0, err
    assert "my_sgd.rate = 0.25" in told
    (tmp_path / "c.gin").write_text(text.replace("my_sgd.rate", "my_sgd.rat"))
    refused(fewstep("config", tmp_path / "c.gin", "--trust"), "my_sgd", "'rat'")


def test_trust_allows_imports(fewstep, tmp_path):
    (tmp_path / "c.gin").write_text("import math\n" + CONFIG)
    assert fewstep("config", tmp_path / "c.gin", "--trust")[0] == 0


def test_missing_config_suggests_one(fewstep, tmp_path):
    refused(fewstep("train", "configs/digits/flo.gin", "--run", tmp_path / "run"), "configs/digits/flow.gin")


def test_unset_part_is_named(fewstep, tmp_path):
    (tmp_path / "c.gin").write_text("train.steps = 2\n")
    refused(fewstep("train", tmp_path / "c.gin", "--run", tmp_path / "run"), "data", "required")
