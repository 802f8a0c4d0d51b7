"""Averages of other lengths on the command line."""

import json

import numpy as np
import pytest
from one_line import refused
from trained_run import trained


@pytest.fixture(scope="module")
def averaged_run(tmp_path_factory):
    """A small run on points that keeps averages."""
    folder = tmp_path_factory.mktemp("runs") / "averaged"
    small = [
        "MLP.width=16",
        "MLP.depth=1",
        "train.steps=40",
        "train.batch_size=64",
        "train.save_every=10",
        "points.count=600",
    ]
    trained("configs/points/moons.gin", folder, [*small, "points.held_out=200", "train.ema_lengths=(0.05,0.1)"])
    return folder


def drawn(fewstep, run, out, *words):
    status, _, err = fewstep("sample", run, "--nfe", 2, "--count", 4, "--out", out, *words)
    assert status == 0, err
    with np.load(out.with_suffix(".npz")) as saved:
        return saved["images"]


@pytest.mark.slow
def test_a_setting_chooses_the_weights(fewstep, averaged_run, tmp_path):
    """As the lever does, wherever it is written."""
    plain = drawn(fewstep, averaged_run, tmp_path / "plain.png")
    short = drawn(fewstep, averaged_run, tmp_path / "short.png", "--set", "ema.length=0.03")
    lever = drawn(fewstep, averaged_run, tmp_path / "lever.png", "--lever", "ema(0.03)")
    last = drawn(fewstep, averaged_run, tmp_path / "last.png", "--lever", "clip_x0(-9, 9)", "--lever", "ema(0.03)")
    assert np.abs(short - plain).max() > 1e-4
    np.testing.assert_array_equal(short, lever)
    np.testing.assert_allclose(short, last, atol=1e-5)


@pytest.mark.slow
def test_lengths_are_swept_without_training(fewstep, averaged_run, tmp_path):
    words = ("--nfe", 2, "--count", 100, "--sampler", "ddim", "--metric", "FD", "--sweep", "ema.length=0.03,0.05,0.2")
    status, out, err = fewstep("compare", averaged_run, *words, "--out", tmp_path, "--json")
    assert status == 0, err
    cells = json.loads(out)["cells"]
    assert [cell["swept"] for cell in cells] == [{"ema.length": length} for length in ("0.03", "0.05", "0.2")]
    assert len({json.dumps(cell["metrics"]) for cell in cells}) == 3
    assert "ema(length=0.03)" in out


def test_other_runs_say_how_to_have_them(fewstep, moons_run, tmp_path):
    result = fewstep("sample", moons_run, "--set", "ema.length=0.03", "--out", tmp_path / "a.png")
    refused(result, "ema", "train.ema_lengths = (0.05, 0.1)")
    refused(fewstep("sample", moons_run, "--set", "ema.length=0.9"), "ema.length", "[0.005, 0.28]")


@pytest.mark.slow
def test_config_says_what_memory_they_take(fewstep):
    for overrides, words in (
        ((), "20 bytes per parameter of a hidden matrix: 4 of itself, 4 of its gradient, 8 of the optimizer, 4 of 1"),
        (("train.optimizer=@tiger",), "4 of the optimizer, 4 of 1 average"),
        (("train.optimizer=@muon", "muon.spectral_decay=0.1"), "4 of the optimizer, 4 of 1 average"),
        (("train.optimizer=@amos",), "4.01 of the optimizer, 4 of 1 average"),
        (("train.ema_lengths=(0.05,0.1)",), "8 of the optimizer, 12 of 3 averages"),
    ):
        options = [word for override in overrides for word in ("--set", override)]
        status, out, err = fewstep("config", "configs/digits/flow.gin", *options)
        assert status == 0, err
        assert words in out.splitlines()[0]
    status, out, err = fewstep("config", "configs/digits/sid.gin")
    assert status == 0, err
    words = "8 of its copies and their gradients, 16 of the optimizer, 4 of 1 average, 4 of its teacher"
    assert words in out.splitlines()[0]
