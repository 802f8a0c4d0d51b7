"""--step: another checkpoint than the newest."""

import json
import random
import shutil

import numpy as np
import pytest
from one_line import refused

import fewstep as library
from fewstep.train.utils.errors import CheckpointError


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy of the tiny run, with steps 3 and 6."""
    return shutil.copytree(digits_run, tmp_path / "run")


def again(fewstep, run, tiny, *words):
    options = [word for override in tiny for word in ("--set", override)]
    return fewstep("train", "configs/digits/flow.gin", "--run", run, *options, *words)


def losses(run):
    return [(line["step"], line["loss"]) for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]


def steps(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.slow
def test_single_bit_flips_are_found_and_the_newest_whole_step_named(fewstep, run, tmp_path):
    rng, newest = random.Random(1), run / "checkpoints" / "6"
    files = sorted(path for path in newest.rglob("*") if path.is_file() and path.parent != newest)
    for path in rng.sample(files, 20):
        before = path.read_bytes()
        place = rng.randrange(len(before))
        path.write_bytes(before[:place] + bytes([before[place] ^ 1 << rng.randrange(8)]) + before[place + 1 :])
        with pytest.raises(CheckpointError, match=rf"6 is damaged \(.*{path.name} has changed.*step 3; give step=3"):
            library.open_run(run)
        assert library.open_run(run, step=3).step == 3
        path.write_bytes(before)
    assert library.open_run(run).step == 6
    (newest / "params" / "manifest.ocdbt").unlink()
    out = tmp_path / "a.png"
    refused(fewstep("sample", run, "--out", out), "6 is damaged", "params/manifest.ocdbt is missing", "--step 3")
    refused(fewstep("compare", run), "6 is damaged", "--step 3")
    assert not out.exists()
    assert fewstep("sample", run, "--out", out, "--count", 2, "--nfe", 2, "--step", 3)[0] == 0
    assert out.exists()


@pytest.mark.slow
def test_steps_draw_differently(fewstep, run, tmp_path):
    images = []
    for step in (3, 6):
        out = tmp_path / f"{step}.png"
        assert fewstep("sample", run, "--out", out, "--count", 2, "--nfe", 2, "--step", step)[0] == 0
        images.append(np.load(out.with_suffix(".npz"))["images"])
    assert not np.array_equal(*images)


def test_a_step_that_is_not_there(fewstep, run):
    refused(fewstep("sample", run, "--step", 5), "has no step 5 (it has: 3, 6)")


@pytest.mark.slow
def test_a_step_that_another_verb_does_not_find(fewstep, run, moons_run, tiny, tmp_path):
    refused(fewstep("compare", moons_run, run, "--step", 3), str(moons_run), "has no step 3 (it has: 4)")
    refused(again(fewstep, run, tiny, "--step", 5), "has no step 5 (it has: 3, 6)")
    assert steps(run) == ["3", "6"]
    refused(again(fewstep, tmp_path / "new", tiny, "--step", 3), "--step 3", "is not a run")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_training_goes_on_from_a_step_and_later_ones_are_set_aside(fewstep, run, tiny):
    before, newest = losses(run), run / "checkpoints" / "6"
    (newest / "params" / "manifest.ocdbt").unlink()
    refused(again(fewstep, run, tiny), "6 is damaged", "--step 3")
    status, _, err = again(fewstep, run, tiny, "--step", 3)
    assert status == 0, err
    assert "resuming from step 3" in err
    assert "6.aside" in err
    assert steps(run) == ["3", "6", "6.aside"]
    assert losses(run) == before
    status, _, err = again(fewstep, run, tiny, "--step", 6)  # nothing is later
    assert status == 0
    assert "going on" not in err
    assert steps(run) == ["3", "6", "6.aside"]


@pytest.mark.slow
def test_the_command_says_which_checkpoint_to_draw(fewstep, tmp_path):
    sets = ["MLP.width=8", "MLP.depth=1", "points.count=300", "points.held_out=50", "train.batch_size=16"]
    sets += ["train.steps=400", "train.preview_every=5", "train.patience=1", "adamw.lr=0.03", "adamw.warmup=1"]
    words = ("train", "configs/points/moons.gin", "--run", tmp_path / "run")
    status, _, err = fewstep(*words, *(word for one in sets for word in ("--set", one)))
    assert status == 0, err
    assert "for train.patience = 1 previews" in err
    step = err.split("--step ")[1].split()[0]
    drawn = fewstep("sample", tmp_path / "run", "--step", step, "--nfe", "2", "--out", tmp_path / "a.png")
    assert drawn[0] == 0, drawn
    assert "finished" in fewstep("runs", tmp_path)[1]
    refused(fewstep(*words, "--set", "train.patience=0"), "train.patience")
