"""A file with several sets of weights: which one becomes the run, and where that is said."""

import json

import numpy as np
import pytest
from dit_files import namespace, published, write_pt
from one_line import refused

from fewstep.zoo import dit
from fewstep.zoo.files import read
from fewstep.zoo.transformer import Size

BIAS = "final_layer.linear.bias"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Of a DiT, as its train.py writes it."""
    monkeypatch.setitem(dit.PRESETS, "DiT-T/2", Size(24, 2, 3, 2))
    model = published()
    ema = {key: array + (key == BIAS) for key, array in model.items()}
    return write_pt(tmp_path / "a.pt", {"model": model, "ema": ema, "args": namespace(model="DiT-T/2")})


def test_the_average_unless_another_is_named(fewstep, file, tmp_path):
    biases = []
    for options, taken in (((), "ema"), (("--weights", "model"), "model")):
        run = tmp_path / taken
        status, _, err = fewstep("import", file, "--run", run, *options)
        assert status == 0, err
        assert f"weights {taken}, one of several sets: --weights takes another" in err
        assert json.loads((run / "run.json").read_text())["imported"]["weights"] == taken
        status, _, err = fewstep("export", run, tmp_path / f"{taken}.out", "--format", "original")
        assert status == 0, err
        biases.append(read(tmp_path / f"{taken}.out" / "model.safetensors")[BIAS])
    np.testing.assert_allclose(biases[0] - biases[1], 1, rtol=1e-5)
    refused(fewstep("import", file, "--run", tmp_path / "run", "--weights", "net"), "'net'", "there are: ema, model")
    assert not (tmp_path / "run").exists()


def test_a_file_with_one_set_says_nothing_of_it(fewstep, file, tmp_path):
    alone = write_pt(tmp_path / "b.pt", published())
    status, _, err = fewstep("import", alone, "--run", tmp_path / "run", "--as", "DiT-T/2")
    assert status == 0, err
    assert "--weights" not in err
