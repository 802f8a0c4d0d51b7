"""The folder that fewstep pairs writes: whole, resumed, refused."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from one_line import refused

import fewstep.train.run.pairs
from fewstep import open_run
from fewstep.diffusion.networks import UNet
from fewstep.train.data import Split, digits
from fewstep.train.data.pairs import Paired, noise_fingerprint, pairs
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import ReFlow
from fewstep.train.optimizers import adamw
from fewstep.train.run.pairs import write_pairs
from fewstep.train.run.run import describe, read_description, write_description
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import folder_lock
from fewstep.train.utils.sealed import opened_json, sealed_json


@pytest.fixture
def run(digits_run):
    return open_run(digits_run)


def write(run, folder, count=40, **options):
    table = run.table("heun", 3, "uniform")
    write_pairs(run, table, folder, count, **{"seed": 7, "shard_size": 16} | options)
    return pairs(str(folder))


def test_pairs_are_what_their_seeds_draw(run, tmp_path):
    split = write(run, tmp_path)
    assert split.source.seeds.tolist() == list(range(7, 47))
    label = run.data.train[:40].label
    np.testing.assert_array_equal(split.source.labels, label)
    np.testing.assert_allclose(split.source.images, run.draw("heun", 3, range(7, 47), label, grid="uniform"), atol=1e-5)


@pytest.mark.parametrize("spoil", ["cut", "gone", "unsaid"])
def test_what_is_not_whole_is_refused_and_drawn_again(run, tmp_path, spoil):
    before = write(run, tmp_path).source.images
    shard, digests = tmp_path / "00001.npz", tmp_path / "digests.json"
    if spoil == "cut":
        shard.write_bytes(shard.read_bytes()[:100])
    elif spoil == "gone":
        shard.unlink()
    else:
        digests.write_text(json.dumps({k: v for k, v in json.loads(digests.read_text()).items() if k != "00001.npz"}))
    first = (tmp_path / "00000.npz").stat().st_mtime_ns
    with pytest.raises(ValueError, match=r"00001.npz missing or damaged"):
        pairs(str(tmp_path))
    np.testing.assert_array_equal(write(run, tmp_path).source.images, before)
    assert (tmp_path / "00000.npz").stat().st_mtime_ns == first


def test_more_pairs_of_the_same_kind(run, tmp_path, monkeypatch):
    """What is there stays as it is, also in the shard that was a part of one, and can be read meanwhile."""
    few = write(run, tmp_path, 24).source
    monkeypatch.setattr("fewstep.train.run.pairs.draw_many", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(run, tmp_path, 40)
    monkeypatch.undo()
    np.testing.assert_array_equal(pairs(str(tmp_path)).source.images, few.images)
    kept, calls = fewstep.train.run.pairs._write_shard, []

    def kept_once(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return kept(*arguments)

    monkeypatch.setattr(
        "fewstep.train.run.pairs._write_shard", kept_once
    )  # the part is filled up, and the next shard is not there
    with pytest.raises(KeyboardInterrupt):
        write(run, tmp_path, 40)
    monkeypatch.undo()
    np.testing.assert_array_equal(pairs(str(tmp_path)).source.images, few.images)
    more = write(run, tmp_path, 40).source
    assert more.seeds.tolist() == list(range(7, 47))
    np.testing.assert_array_equal(more.images[:24], few.images)
    with pytest.raises(RunError, match="has 40 pairs already"):
        write(run, tmp_path, 24)
    assert len(pairs(str(tmp_path))) == 40


def stopped(*_, **__):
    raise KeyboardInterrupt


def test_nothing_is_claimed_before_there_is_a_shard(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "fewstep.train.run.pairs.draw_many", lambda den, table, seeds, *_, **__: np.full((len(seeds), 1), np.nan)
    )
    with pytest.raises(RunError, match="not finite: use more calls"):
        write(run, tmp_path)
    monkeypatch.undo()
    write(run, tmp_path, seed=9)


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", "{}"])
def test_damaged_words(run, tmp_path, damage):
    write(run, tmp_path)
    (tmp_path / "digests.json").write_text(damage)
    with pytest.raises(ValueError, match="missing or damaged"):
        pairs(str(tmp_path))
    write(run, tmp_path)
    (tmp_path / "pairs.json").write_text(damage)
    with pytest.raises(ValueError, match=r"pairs.json is damaged: remove the folder"):
        pairs(str(tmp_path))


def test_what_does_not_fit(run, tmp_path):
    write(run, tmp_path)
    with pytest.raises(RunError, match="pairs of another seed"):
        write(run, tmp_path, seed=8)
    told = opened_json((tmp_path / "pairs.json").read_text())
    other = {"noise": noise_fingerprint(1, (8, 8, 1))}
    (tmp_path / "pairs.json").write_text(sealed_json(told).replace('"count": 40', '"count": 39'))
    with pytest.raises(ValueError, match=r"pairs.json has changed since fewstep wrote it: remove the folder"):
        pairs(str(tmp_path))
    (tmp_path / "pairs.json").write_text(sealed_json(told | other))
    with pytest.raises(ValueError, match="other noise from a seed"):
        pairs(str(tmp_path))
    for sampler, grid, words in (
        ("ddpm", "uniform", "without noise"),
        ("dpmpp_2m", "log_snr", "--grid uniform"),
    ):
        with pytest.raises(RunError, match=words):
            write_pairs(run, run.table(sampler, 4, grid), tmp_path / "new", 16)
    with pytest.raises(ValueError, match="has no pairs"):
        pairs(str(tmp_path / "new"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"has other files \(notes.txt\)"):
        write(run, tmp_path / "full")


def test_pairs_end_at_images(fewstep, digits_run, tmp_path):
    words = ("pairs", digits_run, "--out", tmp_path, "--count", 4, "--nfe", 3, "--set", "uniform.end=0.5")
    refused(fewstep(*words), "pairs end at images", "choose a grid that ends there")


@pytest.mark.parametrize("seed", [-1, 2**32 - 3])
def test_seeds_are_numbers_of_32_bits(fewstep, digits_run, tmp_path, seed):
    refused(fewstep("pairs", digits_run, "--out", tmp_path, "--count", 4, "--nfe", 3, "--seed", seed), "--seed")


@pytest.mark.slow
def test_the_command_and_a_run_on_its_pairs(fewstep, digits_run, tiny, tmp_path):
    status, _, err = fewstep("pairs", digits_run, "--out", tmp_path / "pairs", "--count", 40, "--nfe", 3)
    assert status == 0, err
    words = [word for option in tiny for word in ("--set", option)]
    asked = ("train", "configs/digits/reflow.gin", "--run", tmp_path / "run", "--init-from", digits_run, *words)
    status, _, err = fewstep(*asked, "--set", f"pairs.path={tmp_path / 'pairs'}")
    assert status == 0, err
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["straightness"] == pytest.approx(last["loss"], rel=1e-5)
    # Other pairs than it began with, and more of them.
    digits_pairs = fewstep("pairs", digits_run, "--out", tmp_path / "other", "--count", 48, "--nfe", 3)
    assert digits_pairs[0] == 0
    status, _, err = fewstep(*asked, "--set", f"pairs.path={tmp_path / 'other'}")
    assert (status, err.count("\n")) == (2, 1)
    assert "contradicts" in err  # another path is another config
    for file in (tmp_path / "other").iterdir():
        (tmp_path / "pairs" / file.name).write_bytes(file.read_bytes())
    status, _, err = fewstep(*asked, "--set", f"pairs.path={tmp_path / 'pairs'}")
    assert (status, err.count("\n")) == (2, 1)
    assert "the pairs have changed since the run" in err
    assert "48 paired images, not 40" in err


def test_two_at_once_are_refused(fewstep, digits_run, tmp_path):
    with folder_lock(tmp_path):
        status, _, err = fewstep("pairs", digits_run, "--out", tmp_path, "--count", 4, "--nfe", 3)
    assert status == 2
    assert "another process is using" in err


def experiment(source):
    """Of a tiny network that is trained on these pairs."""
    network = partial(UNet, base=8, mult=(1,), blocks=1, attention=())
    return Experiment(digits, network, ReFlow(), adamw, pairs=lambda: Split(source), steps=2, batch_size=8)


def test_features_that_a_model_was_trained_on_are_those_of_a_run_on_its_pairs(digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "run")
    used = ["classifier", "a1b2"]
    write_description(tmp_path / "run", read_description(tmp_path / "run") | {"trained_features": [used]})
    source = write(open_run(tmp_path / "run"), tmp_path / "pairs").source
    assert describe(prepare(experiment(source), digits()))["trained_features"] == [used]
    assert describe(prepare(experiment(source), digits()), {"trained_features": [used]})["trained_features"] == [used]


def test_pairs_of_other_data():
    data, rng = digits(), np.random.default_rng(0)

    for shape, labels, words in (
        ((4, 4, 1), np.zeros(40, np.int32), r"images of shape \(4, 4, 1\), the data \(8, 8, 1\)"),
        ((8, 8, 1), None, "no labels, but the data has 10 classes"),
        ((8, 8, 1), np.full(40, 12, np.int32), "a label 12, but the data has 10 classes"),
    ):
        images = np.float32(rng.standard_normal((40, *shape)))
        with pytest.raises(ValueError, match=words):
            prepare(experiment(Paired(images, labels, seeds=np.arange(40, dtype=np.uint32))), data)
