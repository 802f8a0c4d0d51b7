"""Transformers that others trained, as runs: imported, drawn from, exported, and trained on as a MeanFlow."""

import numpy as np
import pytest
from dit_files import flax_names, published, write_flax, write_pt

from fewstep.zoo import dit, meanflow
from fewstep.zoo.files import read
from fewstep.zoo.transformer import Size


@pytest.fixture(autouse=True)
def presets(monkeypatch):
    """Names of small models."""
    for table, name in ((dit.PRESETS, "DiT-T/2"), (dit.PRESETS, "SiT-T/2"), (meanflow.PRESETS, "MeanFlow-T/2")):
        monkeypatch.setitem(table, name, Size(24, 2, 3, 2))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param(
            "DiT-T/2", "--sampler ddpm --nfe 4 --grid linspace --set ddpm.variance='range'", marks=pytest.mark.slow
        ),
        ("SiT-T/2", "--sampler heun --nfe 3 --lever cfg(1.5)"),
        pytest.param("MeanFlow-T/2", "--sampler flow_map --nfe 1", marks=pytest.mark.slow),
    ],
)
def test_weights_become_a_run_and_come_back(fewstep, tmp_path, name, words):
    arrays, run, out = published(), tmp_path / "run", tmp_path / "latents.png"
    if name.startswith("Mean"):
        arrays = flax_names(published(outputs=3, side=16))
        path = write_flax(tmp_path / "checkpoint_1", arrays)
    else:
        path = write_pt(tmp_path / "model.pt", arrays)
    status, _, err = fewstep("import", path, "--run", run, "--as", name)
    assert status == 0, err
    status, _, err = fewstep("sample", run, *words.split(), "--count", 2, "--label", "0,4", "--out", out)
    assert status == 0, err
    with np.load(out.with_suffix(".npz")) as file:
        assert np.isfinite(file["images"]).all()
        assert np.ptp(file["images"]) > 0.1
    status, _, err = fewstep("export", run, tmp_path / "back", "--format", "original")
    assert status == 0, err
    back = read(tmp_path / "back" / "model.safetensors")
    assert back.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)


@pytest.mark.slow
def test_a_sit_goes_on_as_a_meanflow(fewstep, tmp_path):
    """With the layers of the size of a jump that MeanFlow has, and a SiT has not: they begin at zero."""
    run, data = tmp_path / "run", tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(data, images=rng.integers(0, 256, (64, 8, 8, 3), np.uint8), labels=np.arange(64) % 5)
    path = write_pt(tmp_path / "model.pt", published())
    status, _, err = fewstep("import", path, "--run", run, "--as", "SiT-T/2", "--data", data)
    assert status == 0, err
    sets = (
        "train.objective=@meanflow()", "train.prediction=@Transferred()", "Transferred.prediction=@Clocked()",
        "Transferred.process=@Linear()", "train.steps=3", "train.batch_size=8", "DiT.jump_layers=True",
    )  # fmt: skip
    options = [word for one in sets for word in ("--set", one)]
    status, _, err = fewstep("train", run / "config.gin", "--run", tmp_path / "more", "--init-from", run, *options)
    assert status == 0, err
    assert "fresh: conditioning.jump.first.bias" in err
    words = ("--sampler", "flow_map", "--nfe", 1, "--count", 2, "--out", tmp_path / "a.png")
    status, _, err = fewstep("sample", tmp_path / "more", *words)
    assert status == 0, err
