"""What is typed after --set: texts, tuples, and whom an error blames; where data are found again."""

import shutil

import image_files
import pytest
from one_line import refused

from fewstep.cli.config.parse import _quoted
from fewstep.train.utils.sealed import read_config


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("folder.path=2024", "folder.path = '2024'"),
        ("npz.path=5", "npz.path = '5'"),
        ("data.npz.path=1e3", "data.npz.path = '1e3'"),
        ("folder.path='20'", "folder.path = '20'"),
        ("train.wandb=123", "train.wandb = '123'"),
        ("train.wandb=None", "train.wandb = None"),
        ("npy.labels=0,1", "npy.labels = '0,1'"),
        ("train.mesh=-1,1,1", "train.mesh = (-1, 1, 1)"),
        ("train.mesh=(-1, 1, 1)", "train.mesh = (-1, 1, 1)"),
        ("UNet.mult=1,2,2", "UNet.mult = (1, 2, 2)"),
        ("UNet.mult=4,", "UNet.mult = (4,)"),
        ("adamw.lr=1e-3", "adamw.lr = 1e-3"),
        ("train.data=@npz", "train.data = @npz"),
        ("mine.thing=3", "mine.thing = 3"),
    ],
)
def test_as_gin_reads_it(override, line):
    assert _quoted(override) == line


def test_a_tuple_as_mesh_takes_it(fewstep):
    words = ("--set", "train.mesh=-1,1,1", "--set", "UNet.mult=1,2")
    status, told, err = fewstep("config", "configs/digits/flow.gin", *words)
    assert status == 0, err
    assert {"train.mesh = (-1, 1, 1)", "UNet.mult = (1, 2)"} <= set(told.splitlines())


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ([], {"adamw.schedule = @cosine_decay", "cosine_decay.last = 0.0", "adamw.warmup = 100"}),
        (["cosine_decay.last=0.1"], {"adamw.schedule = @cosine_decay", "cosine_decay.last = 0.1"}),
        (["adamw.schedule=@linear_decay", "linear_decay.last=0.2"], {"linear_decay.last = 0.2"}),
        (["adamw.schedule=@constant_rate"], {"adamw.schedule = @constant_rate"}),
        (["train.objective=@meanflow()", "logit_normal.mean=-1.0"], {"logit_normal.mean = -1.0"}),
    ],
)
def test_what_is_set_of_a_part_that_is_the_default_applies(fewstep, typed, lines):
    """As the schedule of adamw, the times of an objective."""
    words = [word for override in typed for word in ("--set", override)]
    status, told, err = fewstep("config", "configs/digits/flow.gin", *words)
    assert status == 0, err
    assert lines <= set(told.splitlines())


@pytest.mark.parametrize(
    ("config", "typed", "blamed", "part"),
    [
        ("folder/flow", ["folder.path=nosuch", "folder.size=8"], "folder.path=nosuch", "no such folder"),
        ("digits/flow", ["train.batch_size=5000", "train.seed=1"], "train.batch_size=5000", "1297 training images"),
        ("points/moons", ["train.flip=True"], "train.flip=True", "requires images"),
        ("digits/flow", ["UNet.mult=1,2,2,2,2", "UNet.base=8"], "UNet.mult=1,2,2,2,2", "16"),
        ("digits/flow", ["train.steps=0"], "train.steps=0", "a whole number in [1, "),
        ("folder/flow", ["folder.path=gs://b/photos"], "folder.path=gs://b/photos", "local disk"),
    ],
)
def test_what_was_typed_is_blamed_and_not_the_config(fewstep, tmp_path, monkeypatch, config, typed, blamed, part):
    monkeypatch.chdir(tmp_path)
    words = [word for override in typed for word in ("--set", override)]
    result = fewstep("train", f"configs/{config}.gin", "--run", tmp_path / "run", *words)
    refused(result, f"fewstep: --set {blamed}: ", part)
    assert ".gin" not in result[2]


@pytest.mark.slow
def test_relative_data_are_found_from_anywhere_and_where_they_moved_is_said(fewstep, tiny, tmp_path, monkeypatch):
    image_files.write(tmp_path / "2024")
    monkeypatch.chdir(tmp_path)
    overrides = [*tiny, "folder.path=2024", "folder.size=8"]
    words = [word for override in overrides for word in ("--set", override)]
    for _ in range(2):
        status, _, err = fewstep("train", "configs/folder/flow.gin", "--run", "run", *words)
        assert status == 0, err
    assert f"folder.path = '{tmp_path / '2024'}'" in (tmp_path / "run/config.gin").read_text().splitlines()
    old = read_config(tmp_path / "run/config.gin").replace(f"'{tmp_path / '2024'}'", "'2024'")
    (tmp_path / "run/config.gin").write_text(old)  # as runs were written before
    assert fewstep("train", "configs/folder/flow.gin", "--run", "run", *words)[0] == 0
    (tmp_path / "run/config.gin").write_text(old.replace("'2024'", f"'{tmp_path / '2024'}'"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    compare = ("compare", "../run", "--nfe", 1, "--sampler", "ddim", "--count", 4, "--out", tmp_path / "c")
    status, _, err = fewstep(*compare)
    assert status == 0, err
    shutil.move(tmp_path / "2024", tmp_path / "moved")
    refused(fewstep(*compare), "2024: no such folder", "edit folder.path in ../run/config.gin", "`fewstep seal ../run`")
