"""What may change when a run goes on: its length, when asked, and its logging; what is told before data are read."""

import json
import re

import gin
import numpy as np
import pytest
from one_line import refused

from fewstep.cli.config.load import canonical_text, experiment, find, load
from fewstep.train.data.kept import FILE
from fewstep.train.loop import prepare
from fewstep.train.utils.sealed import read_config, write_config

CONSTANT = ["adamw.schedule=@constant_rate", "adamw.warmup=0"]


def words(overrides):
    return [word for override in overrides for word in ("--set", override)]


def losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_finished_run_goes_on_when_asked_as_if_it_had_been_longer(fewstep, tiny, tmp_path):
    run, longer = tmp_path / "run", tmp_path / "longer"
    begun = ("train", "configs/digits/flow.gin", "--run", run, *words(tiny + CONSTANT))
    assert fewstep(*begun)[0] == 0
    refused(fewstep(*begun, "--set", "train.steps=9"), "train.steps = 6, not 9", "add --extend", f"--init-from {run}")
    refused(fewstep(*begun, "--set", "train.steps=5", "--extend"), "contradicts", "-train.steps = 6")
    refused(fewstep(*begun, *words(["train.steps=9", "adamw.lr=1.0"]), "--extend"), "contradicts", "+adamw.lr = 1.0")
    assert max(losses(run)) == 6
    status, _, err = fewstep(*begun, "--set", "train.steps=9", "--extend")
    assert status == 0, err
    assert f"{run} is extended to 9 steps" in err
    assert fewstep("train", run / "config.gin", "--run", run)[0] == 0  # its config knows
    status, _, err = fewstep(
        "train", "configs/digits/flow.gin", "--run", longer, *words([*tiny, *CONSTANT, "train.steps=9"])
    )
    assert status == 0, err
    assert losses(run) == losses(longer)
    assert len(losses(run)) == 9


def test_a_schedule_of_a_longer_run_is_that_of_the_new_length(fewstep, tiny, tmp_path):
    run, longer = tmp_path / "run", tmp_path / "longer"
    shared = ("train", "configs/digits/flow.gin", *words([*tiny, "adamw.warmup=0", "adamw.schedule=@linear_decay"]))
    assert fewstep(*shared, "--run", run)[0] == 0
    assert fewstep(*shared, "--run", run, "--set", "train.steps=12", "--extend")[0] == 0
    assert fewstep(*shared, "--run", longer, "--set", "train.steps=12")[0] == 0
    rates = [[json.loads(line).get("lr") for line in (one / "metrics.jsonl").open()] for one in (run, longer)]
    assert rates[0][6:] == rates[1][6:]
    assert rates[0][:6] != rates[1][:6]


def test_minutes_become_steps_once(fewstep, tiny, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("fewstep.cli.verbs.train.steps_within", lambda training, minutes: asked.append(minutes) or 4)
    train = ("train", "configs/digits/ect.gin", "--run", tmp_path / "run", *words([*tiny, "train.minutes=0.5"]))
    for _ in range(2):  # the second time it is finished
        status, _, err = fewstep(*train)
        assert status == 0, err
    assert asked == [0.5]
    text = read_config(tmp_path / "run/config.gin")
    assert "train.steps = 4\n" in text
    assert "train.minutes = None\n" in text
    assert max(losses(tmp_path / "run")) == 4
    refused(
        fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "no", "--set", "train.minutes=0"), "minutes"
    )


def test_logging_may_change(fewstep, digits_run, tiny):
    other = ["train.log_every=2", "train.save_every=5", "train.preview_every=100"]
    status, _, err = fewstep("train", "configs/digits/flow.gin", "--run", digits_run, *words(tiny + other))
    assert status == 0, err


def test_a_config_that_does_not_fit_is_told_of_before_its_data_are_read(fewstep, tmp_path, tiny):
    np.savez(tmp_path / "set.npz", images=np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 1)))
    data = ["train.data=@npz", f"npz.path={tmp_path / 'set.npz'}"]
    shared = ("train", "configs/digits/flow.gin", "--run", tmp_path / "run", *words(tiny + data))
    assert fewstep(*shared)[0] == 0
    (tmp_path / "set.npz").unlink()
    refused(fewstep(*shared, "--set", "UNet.base=16"), "contradicts", "-UNet.base = 8", "+UNet.base = 16")
    refused(fewstep(*shared, "--set", "npz.held_out=7"), "contradicts", "-npz.held_out = 0.1", "+npz.held_out = 7")
    refused(fewstep(*shared), "set.npz", "no such file")


def test_a_config_is_printed_without_its_data(fewstep, tmp_path):
    words = ("--set", f"folder.path={tmp_path / 'none'}", "--set", "folder.size=64")
    status, out, err = fewstep("config", "configs/folder/small.gin", *words)
    assert status == 0, err
    assert f"folder.path = '{tmp_path / 'none'}'" in out
    assert "folder.size = 64" in out
    assert "folder.held_out = 0.1" in out


CONFIGS = [
    "digits/flow.gin", "digits/dit.gin", "digits/ect.gin", "digits/scm.gin", "digits/meanflow.gin", "digits/npr.gin",
    "digits/shortcut.gin", "points/moons.gin",
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
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


def test_a_run_includes_a_config_by_its_name(fewstep, tmp_path, tiny):
    for i, name in enumerate(("digits/flow.gin", "configs/digits/flow.gin")):
        (tmp_path / "mine.gin").write_text(f"include '{name}'\nadamw.lr = 0.003\n")
        status, out, err = fewstep("config", tmp_path / "mine.gin")
        assert status == 0, err
        assert "adamw.lr = 0.003" in out
        assert "train.steps = 1500" in out, i


def test_a_line_after_the_seal_of_a_config_is_a_change(fewstep, digits_run, tmp_path):
    text = read_config(digits_run / "config.gin")
    path = tmp_path / "config.gin"
    write_config(path, text)
    assert read_config(path) == text
    path.write_text(path.read_text() + "\n\n")
    assert read_config(path) == text
    path.write_text(path.read_text() + "adamw.lr = 0.5\n")
    refused(fewstep("config", path), "has changed since fewstep wrote it")


def test_data_beside_a_config_or_in_an_empty_folder_are_not_ours(fewstep, tmp_path, tiny):
    config = tmp_path / "mine.gin"
    config.write_text("include 'digits/flow.gin'\n")
    np.savez(tmp_path / FILE, images=np.zeros((4, 8, 8, 1)))
    assert fewstep("config", config)[0] == 0
    status, _, err = fewstep("train", config, "--run", tmp_path / "run", *words(tiny))
    assert status == 0, err
    (tmp_path / "other").mkdir()
    (tmp_path / FILE).rename(tmp_path / "other" / FILE)
    refused(fewstep("train", config, "--run", tmp_path / "other", *words(tiny)), "contains other files", FILE)
