"""Files of guided-diffusion and its relatives: what is found in them, and what is refused."""

import jax
import numpy as np
import pytest
from flax import nnx
from foreign_files import tensor, zip_file
from guided_files import guided_file, state_dict
from option_words import table_of
from refused import message

from fewstep.diffusion import EPS, VE, Discrete, edm
from fewstep.diffusion.foreign import CM, Clocked, Indexed
from fewstep.diffusion.networks import UNet2D, abstract
from fewstep.train.objectives import Denoising, DiscreteConsistency
from fewstep.zoo.files import safetensors
from fewstep.zoo.guided_diffusion import PRESETS, arguments, find, recognises
from fewstep.zoo.guided_shapes import STEM, TIME, Shapes

TRAINED = {
    "new_order": (Discrete("cosine", 1000), Indexed(EPS), Denoising()),
    "improved": (Discrete("cosine", 4000), Clocked(EPS, scale=1000.0, offset=-0.25), Denoising()),
    "consistency": (VE(0.002, 80.0), Clocked(CM(0.5, 0.002), of="log_noise", scale=250.0), DiscreteConsistency()),
    "teacher": (VE(0.002, 80.0), Clocked(edm(0.5), of="log_noise", scale=250.0), Denoising()),
}


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_trained(name, tmp_path, monkeypatch):
    found = find(guided_file(tmp_path, name, monkeypatch), name)
    assert (found.process, found.prediction, found.objective) == TRAINED[name]
    assert found.shape == (8, 8, 3)
    assert found.licence.startswith("MIT")
    assert (found.variance is None) == (name in ("consistency", "teacher"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("new_order", "ADM of openai/guided-diffusion"),
        ("improved", "improved DDPM of openai/improved-diffusion"),
        ("consistency", "consistency model of openai/consistency_models"),
        ("teacher", "EDM teacher of openai/consistency_models"),
    ],
)
def test_its_kind(name, kind, tmp_path, monkeypatch):
    assert find(guided_file(tmp_path, name, monkeypatch), name).kind == f"{kind}, as {name}"


def test_rescaled_times_are_the_index_in_thousandths():
    """At level n of 4000 the network is told (n - 1) 1000 / 4000."""
    process, prediction, _ = TRAINED["improved"]
    n = np.array([1, 2, 2000, 4000])
    np.testing.assert_allclose(prediction.clock(process, n / 4000), (n - 1) / 4, rtol=1e-12)


def test_the_file_of_torch_is_opened(tmp_path, monkeypatch):
    arrays = state_dict("added")
    guided_file(tmp_path, "added", monkeypatch)
    path = tmp_path / "model.pt"
    path.write_bytes(zip_file({name: tensor(array, str(i)) for i, (name, array) in enumerate(arrays.items())}))
    assert recognises(path)
    found = find(path, "added")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_a_preset_is_needed_and_must_fit(tmp_path, monkeypatch):
    path = guided_file(tmp_path, "old_order", monkeypatch)
    assert recognises(path)
    assert message(lambda: find(path)).endswith("add --as NAME; of its shapes are old_order")
    text = message(lambda: find(path, "adm-64"))
    assert "is not adm-64 (64x64_diffusion.pt): its weights have channels (32, 64), not (192, 384, 576, 768)" in text
    assert "did you mean 'adm-64'?" in message(lambda: find(path, "adm64"))
    monkeypatch.delitem(PRESETS, "old_order")
    assert "of its shapes is none of adm-64, adm-128" in message(lambda: find(path))


def test_relatives_that_are_not_opened(tmp_path):
    arrays = state_dict("old_order")
    path = tmp_path / "model.safetensors"
    decoder = ("output_blocks.", "out.")
    safetensors.write(path, {name: array for name, array in arrays.items() if not name.startswith(decoder)})
    assert "of a classifier" in message(lambda: find(path))
    stem = "input_blocks.0.0.weight"
    safetensors.write(path, arrays | {stem: np.repeat(arrays[stem], 2, axis=1)})
    assert "makes 6 channels from 6, as an upsampler" in message(lambda: find(path))
    del arrays["input_blocks.1.0.out_layers.3.weight"]
    safetensors.write(path, arrays)
    assert "input_blocks.1.0.out_layers.3.weight' is missing" in message(lambda: find(path))
    del arrays[stem]
    safetensors.write(path, arrays)
    assert not recognises(path)


def sides_with_attention(name):
    """As the flags of the authors say."""
    if name == "iddpm-lsun-bedroom":
        return (16,)
    return (16, 8) if name.startswith("iddpm") else (32, 16, 8)


@pytest.mark.parametrize("name", PRESETS)
def test_published_models_have_the_published_shapes(name):
    """The last side is 4 or 8 pixels, and every level's channels divide into the heads."""
    preset = PRESETS[name]
    shapes, sides = preset.shapes, [preset.size >> level for level in range(len(preset.shapes.channels))]
    assert sides[-1] * 2 ** (len(sides) - 1) == preset.size
    assert sides[-1] in (4, 8)
    assert list(shapes.attends) == [side in sides_with_attention(name) for side in sides]
    assert all(channels % (preset.head_size or preset.heads) == 0 for channels in shapes.channels)


def test_options_of_presets_parse(tmp_path, monkeypatch):
    for name in TRAINED:
        found = find(guided_file(tmp_path, name, monkeypatch), name)
        table = table_of(found)
        assert table.t[0] == 1.0


def test_the_first_difference_is_named():
    one = Shapes((32, 64), 2, (False, True), 32)
    assert one.difference(one) is None
    assert one.difference(one.of(classes=5, outputs=3)) == "classes 0, not 5"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"),
    [("adm-64", 296), ("adm-128", 422), ("adm-256", 554), ("adm-512", 559)],
)
def test_published_models_have_the_published_sizes(name, millions):
    """Those of arXiv:2105.05233, in millions of parameters."""
    preset = PRESETS[name]
    seen = preset.shapes
    arrays = {STEM: np.empty((seen.channels[0], 3, 3, 3)), TIME: np.empty((4 * seen.waves, seen.waves))}
    settings = arguments(preset, seen, arrays)
    shape = (preset.size, preset.size, seen.colours)
    _, shapes = abstract(lambda: UNet2D(shape, seen.classes, variance=True, rngs=nnx.Rngs(0), **settings))
    assert round(sum(one.size for one in jax.tree.leaves(shapes)) / 1e6) == millions
