"""What may change when a run goes on: its length, when asked, and its logging; what is told before data are read."""

import json
import re

import gin
import numpy as np
import pytest
from one_line import refused

import fewstep as package
from fewstep.cli.config.further import goes_further
from fewstep.cli.config.load import canonical_text, experiment, find, load
from fewstep.train.data.kept import FILE
from fewstep.train.loop import prepare
from fewstep.train.utils.sealed import read_config, read_json, write_config

POINTS = [
    "MLP.width=32", "points.count=400", "points.held_out=100", "train.steps=6", "train.save_every=3",
    "train.log_every=1", "train.preview_every=6", "train.batch_size=16",
]  # fmt: skip
MOONS = "configs/points/moons.gin"
CONSTANT = ["adamw.schedule=@constant_rate", "adamw.warmup=0"]


def words(overrides):
    return [word for override in overrides for word in ("--set", override)]


def losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.slow
def test_a_finished_run_goes_on_when_asked_as_if_it_had_been_longer(fewstep, tmp_path):
    run, longer = tmp_path / "run", tmp_path / "longer"
    begun = ("train", MOONS, "--run", run, *words(POINTS + CONSTANT))
    assert fewstep(*begun)[0] == 0
    refused(fewstep(*begun, "--set", "train.steps=9"), "train.steps = 6, not 9", "add --extend", f"{run}")
    refused(fewstep(*begun, "--set", "train.steps=5", "--extend"), "contradicts", "-train.steps = 6")
    refused(fewstep(*begun, *words(["train.steps=9", "adamw.lr=1.0"]), "--extend"), "contradicts", "+adamw.lr = 1.0")
    assert max(losses(run)) == 6
    status, _, err = fewstep(*begun, "--set", "train.steps=9", "--extend")
    assert status == 0, err
    assert f"{run} is extended to 9 steps" in err
    text = read_config(run / "config.gin")
    assert not goes_further(run, text, extend=False)  # it knows its steps
    for logging in ("log_every = 1", "save_every = 3", "preview_every = 6"):  # these may change at any time
        assert logging in text
        assert not goes_further(run, text.replace(logging, logging.split()[0] + " = 50"), extend=False)
    status, _, err = fewstep("train", MOONS, "--run", longer, *words([*POINTS, *CONSTANT, "train.steps=9"]))
    assert status == 0, err
    assert losses(run) == losses(longer)
    assert len(losses(run)) == 9


@pytest.mark.slow
def test_a_schedule_of_a_longer_run_is_that_of_the_new_length(fewstep, tmp_path):
    run, longer = tmp_path / "run", tmp_path / "longer"
    shared = ("train", MOONS, *words([*POINTS, "adamw.warmup=0", "adamw.schedule=@linear_decay"]))
    assert fewstep(*shared, "--run", run)[0] == 0
    assert fewstep(*shared, "--run", run, "--set", "train.steps=12", "--extend")[0] == 0
    assert fewstep(*shared, "--run", longer, "--set", "train.steps=12")[0] == 0
    rates = [[json.loads(line).get("lr") for line in (one / "metrics.jsonl").open()] for one in (run, longer)]
    assert rates[0][6:] == rates[1][6:]
    assert rates[0][:6] != rates[1][:6]


@pytest.mark.slow
def test_minutes_become_steps_once(fewstep, tmp_path, monkeypatch):
    asked, texts = [], []
    monkeypatch.setattr(
        "fewstep.cli.config.further.steps_within", lambda training, minutes, scored: asked.append(minutes) or 4
    )
    monkeypatch.setattr("fewstep.cli.verbs.train.train_in", lambda folder, training, text, *_, **__: texts.append(text))
    (tmp_path / "run").mkdir()
    train = ("train", MOONS, "--run", tmp_path / "run", *words([*POINTS, "train.minutes=0.5"]))
    for _ in range(2):
        status, _, err = fewstep(*train)
        assert status == 0, err
        write_config(tmp_path / "run/config.gin", texts[-1])  # as training does
    assert asked == [0.5]
    assert texts[0] == texts[1]
    assert "train.steps = 4\n" in texts[0]
    assert "train.minutes = None\n" in texts[0]
    refused(fewstep(*train, "--extend"), "train.minutes are of a new run", "give the number of train.steps")
    refused(fewstep("config", MOONS, "--set", "train.minutes=0"), "train.minutes is a number")


@pytest.mark.slow
def test_a_config_that_does_not_fit_is_told_of_before_its_data_are_read(fewstep, tmp_path):
    np.savez(tmp_path / "set.npz", images=np.random.default_rng(0).uniform(-1, 1, (40, 2)))
    data = ["train.data=@npz", f"npz.path={tmp_path / 'set.npz'}"]
    small = [one for one in POINTS if not one.startswith("points")]
    shared = ("train", MOONS, "--run", tmp_path / "run", *words(small + data))
    assert fewstep(*shared)[0] == 0
    (tmp_path / "set.npz").unlink()
    refused(fewstep(*shared, "--set", "MLP.width=16"), "contradicts", "-MLP.width = 32", "+MLP.width = 16")
    refused(fewstep(*shared, "--set", "npz.held_out=7"), "contradicts", "-npz.held_out = 0.1", "+npz.held_out = 7")
    refused(fewstep(*shared), "set.npz", "no such file")


def test_a_config_is_printed_without_its_data(fewstep, tmp_path):
    words = ("--set", f"folder.path={tmp_path / 'none'}", "--set", "folder.size=64")
    status, out, err = fewstep("config", "configs/folder/small.gin", *words)
    assert status == 0, err
    assert f"folder.path = '{tmp_path / 'none'}'" in out
    assert "folder.size = 64" in out
    assert "folder.held_out = 0.1" in out


OF_FILES = {"folder/dit": "folder", "folder/jit": "folder"}
OF_FILES |= {f"fashion_mnist/{name}": "npz" for name in ("jit", "dmd2", "range")}
OF_FILES |= {f"cifar10/{name}": "npz" for name in ("unet", "dit", "small")}


@pytest.mark.parametrize(("name", "data"), OF_FILES.items())
def test_configs_of_files_are_printed(fewstep, tmp_path, name, data):
    status, out, err = fewstep("config", f"configs/{name}.gin", "--set", f"{data}.path={tmp_path / 'none'}")
    assert status == 0, err
    assert f"{data}.path = '{tmp_path / 'none'}'" in out


CONFIGS = ["digits/npr.gin", "points/moons.gin"]
MORE = [
    f"digits/{name}.gin"
    for name in ("flow", "dit", "ect", "scm", "meanflow", "imf", "lsd", "psd", "alpha_flow", "shortcut")
]


@pytest.mark.parametrize("config", [*CONFIGS, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)])
def test_a_text_has_every_value_that_gin_sees_used(config):
    """Independent of how the text finds them: gin itself records the arguments of every part that was called."""
    load(find(f"configs/{config}"), [] if "moons" in config else ["digits.held_out=100"])
    text = canonical_text()
    made = experiment()
    prepare(made, made.data())
    used = re.findall(r"^([\w./]+) = (.+)$", gin.operative_config_str(max_line_length=1_000_000), re.MULTILINE)
    assert len(used) > 20
    for name, value in used:
        assert f"\n{name} = {value}\n" in f"\n{text}", name


MINE = """
import mine_with_parts
include 'points/moons.gin'

last = 0.1
steps = 4

train.steps = %steps
train.process = @odd/Shifted()
odd/Shifted.process = @VP()
odd/VP.beta_max = 15.0
cosine_decay.last = %last
denoising.weight = @lightly
lightly.share = 0.5
"""
PARTS = """
import math
import gin

@gin.configurable(denylist=["process", "prediction", "t", "kind"])
def lightly(process, prediction, t, share=1.0, limit=math.inf, kind="a", power=2):
    return 1 + 0 * t
"""


@pytest.mark.slow
def test_scopes_macros_and_imported_parts_are_kept(fewstep, tmp_path, monkeypatch):
    (tmp_path / "mine.gin").write_text(MINE)
    (tmp_path / "mine_with_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    small = [one for one in POINTS if not one.startswith("train.steps")]
    train = ("train", tmp_path / "mine.gin", "--trust", "--run", tmp_path / "run", *words(small))
    status, _, err = fewstep(*train)
    assert status == 0, err
    lines = read_config(tmp_path / "run/config.gin").splitlines()
    for line in ("odd/VP.beta_max = 15.0", "last = 0.1", "steps = 4", "lightly.share = 0.5", "lightly.power = 2"):
        assert line in lines
    assert not any("lightly.limit" in line or "lightly.kind" in line for line in lines)
    assert package.open_run(tmp_path / "run", trust=True).model.process.process.beta_max == 15.0
    refused(fewstep(*train, "--set", "train.steps=6"), "add --extend")
    status, _, err = fewstep(*train, "--set", "train.steps=6", "--extend")
    assert status == 0, err
    assert max(losses(tmp_path / "run")) == 6


@pytest.mark.parametrize("name", ["digits/flow.gin", "configs/digits/flow.gin"])
def test_a_config_includes_another_by_its_name(fewstep, tmp_path, name):
    (tmp_path / "mine.gin").write_text(f"include '{name}'\nadamw.lr = 0.003\n")
    status, out, err = fewstep("config", tmp_path / "mine.gin")
    assert status == 0, err
    assert "adamw.lr = 0.003" in out
    assert "train.steps = 1500" in out


@pytest.mark.slow
def test_an_unsealed_run_is_sealed_when_it_is_extended(fewstep, tmp_path):
    begun = ("train", MOONS, "--run", tmp_path / "run", *words(POINTS))
    assert fewstep(*begun)[0] == 0
    for name in ("config.gin", "run.json"):
        path = tmp_path / "run" / name
        text = read_config(path) if name == "config.gin" else json.dumps(read_json(path))
        path.write_text(text)
    status, _, err = fewstep(*begun, "--set", "train.steps=7", "--extend")
    assert status == 0, err
    assert "sha256" in (tmp_path / "run/config.gin").read_text()
    assert "sha256" in (tmp_path / "run/run.json").read_text()


def test_a_comment_is_no_seal(fewstep, tmp_path):
    (tmp_path / "mine.gin").write_text("# sha256: 0123 of the data\ninclude 'digits/flow.gin'\n")
    assert fewstep("config", tmp_path / "mine.gin")[0] == 0


def test_a_line_after_the_seal_of_a_config_is_a_change(fewstep, tmp_path):
    text = fewstep("config", MOONS)[1]
    path = tmp_path / "config.gin"
    write_config(path, text)
    assert read_config(path) == text
    path.write_text(path.read_text() + "\n\n")
    assert read_config(path) == text
    path.write_text(path.read_text() + "adamw.lr = 0.5\n")
    refused(fewstep("config", path), "has changed since fewstep wrote it")


def test_data_beside_a_config_or_in_an_empty_folder_are_not_ours(fewstep, tmp_path):
    config = tmp_path / "mine.gin"
    config.write_text("include 'points/moons.gin'\n")
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        np.savez(folder / FILE, images=np.zeros((4, 8, 8, 1)))
    refused(fewstep("train", config, "--run", tmp_path / "other", *words(POINTS)), "contains other files", FILE)
