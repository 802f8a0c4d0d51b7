"""Files of the authors' own programs as runs, by the verbs: imported, drawn from with the words that are printed,
compared, and trained on."""

import json
import re
import shlex

import numpy as np
import pytest
from dit_files import flax_names, published, write_flax, write_pt
from edm_files import edm_file, network
from guided_files import guided_file
from one_line import refused

from fewstep.zoo import dit, meanflow
from fewstep.zoo.transformer import Size

TABLES = {"DiT-T/2": dit.PRESETS, "SiT-T/2": dit.PRESETS, "MeanFlow-T/2": meanflow.PRESETS}
SLOW = ("DiT-T/2", "MeanFlow-T/2", "new_order", "improved", "consistency", "teacher", "edm")
NAMES = ("SiT-T/2", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW))


@pytest.fixture
def imported(fewstep, tmp_path, monkeypatch):
    """imported(name) -> its run."""

    def run(name, *options):
        folder, words = tmp_path / "run", ["--as", name]
        if name in TABLES:
            monkeypatch.setitem(TABLES[name], name, Size(24, 2, 3, 2))
        if name == "edm":
            path, words = edm_file(tmp_path / "network.pkl", ema=network("adm")), []
        elif name.startswith("Mean"):
            path = write_flax(tmp_path / "checkpoint_1", flax_names(published(outputs=3, side=16)))
        elif name in TABLES:
            path = write_pt(tmp_path / "model.pt", published())
        else:
            path = guided_file(tmp_path, name, monkeypatch)
        status, _, err = fewstep("import", path, "--run", folder, *words, *options)
        assert status == 0, err
        return folder

    return run


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_words_draw_images(fewstep, imported, name):
    run = imported(name)
    options = json.loads((run / "run.json").read_text())["imported"]["options"]
    words = shlex.split(re.sub(r"--nfe \d\d+", "--nfe 3", options))
    status, _, err = fewstep("sample", run, *words, "--count", 2, "--out", run / "a.png")
    assert status == 0, err
    with np.load(run / "a.npz") as file:
        assert np.isfinite(file["images"]).all()
        assert np.ptp(file["images"]) > 0.1


@pytest.mark.slow
def test_a_model_of_classes_without_a_null_class(fewstep, imported, tmp_path):
    """Guidance by the null class is refused by its name; all else has labels."""
    data = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(data, images=rng.integers(0, 256, (60, 8, 8, 3), np.uint8), labels=np.arange(60) % 5)
    run = imported("improved", "--data", data)
    words = ("--sampler", "ddim", "--nfe", 2, "--count", 4)
    refused(fewstep("sample", run, *words, "--lever", "cfg(2)"), "cfg", "null class")
    status, out, err = fewstep("compare", run, *words, "--metric", "FD")
    assert status == 0, err
    assert "FD-pixels" in out
    sets = ("train.steps=2", "train.batch_size=4", "train.preview_every=2", "train.objective=@hybrid()")
    options = [word for one in sets for word in ("--set", one)]
    more = tmp_path / "more"
    status, _, err = fewstep("train", run / "config.gin", "--run", more, "--init-from", run, *options)
    assert status == 0, err
    assert json.loads((more / "run.json").read_text())["classes"] == 5
    refused(fewstep("sample", more, *words, "--lever", "cfg(2)"), "cfg", "null class")
