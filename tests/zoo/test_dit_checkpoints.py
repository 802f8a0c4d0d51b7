"""Files of DiT, SiT and MeanFlow: what is found in them, what is refused, and that they come back bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from dit_files import flax_names, namespace, published, write_flax, write_pt
from imported import loaded
from option_words import table_of
from refused import message

from fewstep.diffusion import EPS, VELOCITY, Clocked, Discrete, Linear
from fewstep.diffusion.foreign import Indexed
from fewstep.diffusion.variance import LearnedRange
from fewstep.train.objectives import MeanFlow
from fewstep.zoo import dit, meanflow, record, sources
from fewstep.zoo.transformer import Size

SMALL = Size(24, 2, 3, 2)
BIAS = "final_layer.linear.bias"


@pytest.fixture(autouse=True)
def presets(monkeypatch):
    """Names of small models."""
    for table, names in ((dit.PRESETS, ("DiT-T/2", "SiT-T/2")), (meanflow.PRESETS, ("MeanFlow-T/2",))):
        for name in names:
            monkeypatch.setitem(table, name, SMALL)


@pytest.fixture
def file(tmp_path):
    return write_pt(tmp_path / "model.pt", published())


def test_presets_are_the_published_sizes():
    assert dit.PRESETS["DiT-XL/2"] == dit.PRESETS["SiT-XL/2"] == (1152, 28, 16, 2)
    assert meanflow.PRESETS["MeanFlow-B/4"] == (768, 12, 12, 4)


def test_what_is_found_in_a_file_of_dit(file):
    found = sources.find(file, "DiT-T/2")
    assert (found.process, found.prediction) == (Discrete("linear", 1000), Indexed(EPS))
    assert (found.shape, found.classes, found.variance) == ((8, 8, 3), 5, LearnedRange())
    assert found.licence.startswith("CC BY-NC 4.0")
    assert found.sampled["cfg_channels"] == 3
    assert table_of(found).nfe == 250


def test_what_is_found_in_a_file_of_sit(file):
    """The same arrays: t is 1 - t, the velocity points to the data, and the second half of the output is not used."""
    found = sources.find(file, "SiT-T/2")
    assert found.process == Linear()
    assert found.prediction == Clocked(VELOCITY, scale=-1.0, offset=1.0, negated=True)
    assert (found.shape, found.classes, found.variance) == ((8, 8, 3), 5, None)
    assert found.licence.startswith("MIT")
    assert table_of(found).nfe == 249


@pytest.mark.parametrize("name", ["DiT-T/2", "SiT-T/2"])
def test_a_run_gives_the_arrays_back_bit_for_bit(name, file, tmp_path):
    """Also those that are computed (positions) or not used (the second half of a SiT's output), which it keeps."""
    found = sources.find(file, name)
    _, params = loaded(found)
    record.write(tmp_path, found, params)
    back = record.read(tmp_path).arrays(params)
    assert back.keys() == found.arrays.keys()
    for key, array in found.arrays.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


def test_changed_parameters_come_back_changed_and_the_rest_as_it_was(file, tmp_path):
    found = sources.find(file, "SiT-T/2")
    _, params = loaded(found)
    record.write(tmp_path, found, params)
    params["head"]["bias"] = params["head"]["bias"] + 1
    back = record.read(tmp_path).arrays(params)
    halves = [
        array.reshape(4, 2, 3) for array in (back[BIAS], np.asarray(found.arrays[BIAS]))
    ]  # pixels, halves, channels
    np.testing.assert_array_equal(halves[0][:, 0], halves[1][:, 0] + 1)
    np.testing.assert_array_equal(halves[0][:, 1], halves[1][:, 1])


def test_the_average_is_taken_by_default(tmp_path):
    value = {"model": published(), "ema": published() | {BIAS: published()[BIAS] + 1}}
    path = write_pt(tmp_path / "0050000.pt", value | {"opt": {"state": {}}})
    for weights, name in (("ema", None), ("ema", "ema"), ("model", "model")):
        np.testing.assert_array_equal(dit.find(path, "DiT-T/2", name).arrays[BIAS], value[weights][BIAS])
    assert "called 'teacher'" in message(lambda: dit.find(path, "DiT-T/2", "teacher"))


def test_a_file_of_train_py_says_which_model_it_is(tmp_path):
    value = {"ema": published(), "args": namespace(model="SiT-T/2", path_type="Linear", prediction="velocity")}
    assert sources.find(write_pt(tmp_path / "a.pt", value)).prediction.negated
    value["args"] = namespace(model="SiT-T/2", path_type="GVP", prediction="velocity")
    path = write_pt(tmp_path / "b.pt", value)
    for name in (None, "SiT-T/2"):
        assert message(lambda name=name: sources.find(path, name)) == (
            f"{path} was trained with path_type 'GVP': 'Linear' is opened"
        )


def test_the_name_is_asked_for_and_compared_with_the_shapes(file):
    text = message(lambda: sources.find(file))
    assert (
        text == f"{file} is of a DiT or SiT, and does not say which: add --as NAME; of its shapes are DiT-T/2, SiT-T/2"
    )
    text = message(lambda: sources.find(file, "DiT-XL/2"))
    assert "is not DiT-XL/2: it has 2 blocks of width 24 and patches of 2, and DiT-XL/2 has 28 of 1152 and of 2" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pos_embed": published()["pos_embed"] + 1e-4}, "its positions differ by 0.0001 from DiT's sines"),
        ({"pos_embed": published()["pos_embed"][:, :15]}, "are not those of the tokens of a square image"),
        ({"pos_embed": published()["pos_embed"][:, :0]}, "are not those of the tokens of a square image"),
        ({"final_layer.linear.weight": np.zeros((36, 24), np.float32)}, "makes 9 channels from 3"),
    ],
)
def test_another_network_is_refused(change, words, tmp_path):
    path = write_pt(tmp_path / "model.pt", published() | change)
    assert words in message(lambda: dit.find(path, "DiT-T/2"))


def jumping(folder: Path) -> Path:
    arrays = flax_names(published(outputs=3, side=16))
    return write_flax(folder, arrays, {name: array * 2 for name, array in arrays.items()})


def test_what_is_found_in_a_checkpoint_of_meanflow(tmp_path):
    for step in (90, 100):
        jumping(tmp_path / f"checkpoint_{step}")
    found = sources.find(tmp_path, "MeanFlow-T/2")
    assert found.files == (str(tmp_path / "checkpoint_100" / "checkpoint"),)  # the last step
    assert (found.process, found.prediction, found.objective) == (Linear(), VELOCITY, MeanFlow())
    assert (found.shape, found.classes) == ((32, 32, 3), 5)
    plain = sources.find(tmp_path / "checkpoint_90" / "checkpoint", "MeanFlow-T/2", "params")
    for name, array in plain.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], 2 * array)  # the average, by default
    assert table_of(found).nfe == 1


def test_a_checkpoint_of_meanflow_comes_back_bit_for_bit(tmp_path):
    found = sources.find(jumping(tmp_path / "checkpoint_7"), "MeanFlow-T/2")
    _, params = loaded(found)
    record.write(tmp_path, found, params)
    back = record.read(tmp_path).arrays(params)
    for key, array in found.arrays.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


def test_meanflow_without_a_name_and_improved_meanflow_are_refused(tmp_path):
    path = jumping(tmp_path / "checkpoint_7")
    assert message(lambda: sources.find(path)).endswith("of its shapes are MeanFlow-T/2")
    better = {"omega_embedder.mlp.layers_0._flax_linear.bias": np.zeros(8, np.float32)}
    path = write_flax(tmp_path / "iMF" / "checkpoint_9", better)
    assert "is of improved MeanFlow (iMF)" in message(lambda: sources.find(path))
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint of MeanFlow" in message(lambda: sources.find(tmp_path / "empty", "MeanFlow-T/2"))
