"""EDM's pickles: what is found in them, and what is refused."""

import numpy as np
import pytest
from edm_files import FIXTURES, edm_file, fixture, network
from foreign_files import edm_module, edm_tensor
from imported import assert_exports, loaded
from option_words import table_of
from refused import message
from seeded_weights import seeded

from fewstep.diffusion import EPS, VE, VP, Discrete, edm
from fewstep.diffusion.foreign import Clocked, Indexed
from fewstep.zoo.edm import find, recognises

ABOUT, _ = fixture()
PREDICTIONS = {
    "ddpmpp": (VE(0.002, 80.0), edm(0.5)),
    "adm": (VE(0.002, 80.0), edm(0.4)),
    "ncsnpp": (VE(0.02, 100.0), Clocked(EPS, of="log_noise", offset=float(np.log(0.5)), negated=True)),
    "vp": (VP(0.2, 0.2 + 19.9, 1e-5), Clocked(EPS, scale=999.0)),
    "iddpm": (Discrete("cosine", 1000), Indexed(EPS)),
}


def test_a_pickle_that_edm_wrote():
    path = FIXTURES / "edm.pkl"
    assert recognises(path)
    found = find(path)
    assert (found.shape, found.classes, found.licence) == ((8, 8, 1), 2, "unknown")
    assert found.kind == "EDMPrecond of a SongUNet of NVlabs/edm"
    filters = assert_exports(found)
    assert all(name.endswith("resample_filter") for name in filters)
    for name in set(found.arrays) - filters:
        np.testing.assert_array_equal(found.arrays[name], seeded(name, found.arrays[name].shape))


@pytest.mark.parametrize("name", PREDICTIONS)
def test_process_prediction_and_options(name, tmp_path):
    found = find(edm_file(tmp_path / "network.pkl", ema=network(name)))
    assert (found.process, found.prediction) == PREDICTIONS[name]
    assert found.licence.startswith("CC BY-NC-SA 4.0")
    table = table_of(found)
    start = np.exp(-found.process.lam(table.t[0]))
    assert start == pytest.approx(80.0, rel=1e-5)
    assert found.variance is None


def test_other_betas_than_the_published_ones(tmp_path):
    """C_1 bounds the ratio of two alpha_bar from below."""
    path = tmp_path / "network.pkl"
    value = network("iddpm")
    value.args[0]["state"]["C_1"] = 0.5
    process = find(edm_file(path, ema=value)).process
    assert process.count == 1000
    assert max(process.betas) == pytest.approx(0.5)


def test_the_average_is_taken_unless_another_network_is_named(tmp_path):
    path = edm_file(tmp_path / "network.pkl", net=network("vp", salt="net"), ema=network("vp"))
    name = "model.map_layer0.weight"
    shape = find(path).arrays[name].shape
    np.testing.assert_array_equal(find(path).arrays[name], seeded(name, shape))
    assert find(path).chosen == "ema"
    other = find(path, weights="net")
    assert other.chosen == "net"
    np.testing.assert_array_equal(other.arrays[name], seeded(f"net{name}", shape))
    assert "is called 'other': there are: ema, net" in message(lambda: find(path, weights="other"))
    alone = edm_file(tmp_path / "alone.pkl", net=network("vp"))
    assert find(alone).chosen == ""


def test_what_is_not_opened(tmp_path):
    path = tmp_path / "network.pkl"
    edm_file(path, ema=network("ncsnpp", {"decoder_type": "skip"}))
    assert "SongUNet with a residual encoder, a skip decoder" in message(lambda: find(path))
    edm_file(path, ema=network("ncsnpp", {"resample_filter": [1, 2, 1]}))
    assert "the filter [1, 2, 1]" in message(lambda: find(path))
    edm_file(path, ema=network("vp", {"channel_mult": None}))
    assert "lacks an argument" in message(lambda: find(path))
    edm_file(path, ema=network("vp", {"num_blocks": 10**9}))
    assert "has 2 levels of 1000000000 blocks" in message(lambda: find(path))
    edm_file(path, ema=edm_module("EDMPrecond", {}, {"model": edm_module("DiT", {})}))
    assert "has a DiT within its EDMPrecond: SongUNet and DhariwalUNet are opened" in message(lambda: find(path))
    edm_file(path, ema=edm_module("Discriminator", {}))
    assert not recognises(path)
    assert not recognises(tmp_path)


def test_arrays_of_another_network_are_refused(tmp_path):
    """Also where a layout cannot take them, such as a convolution that is a matrix."""
    value = network("vp")
    parameters = value.args[0]["state"]["_modules"]["model"].args[0]["state"]["_parameters"]
    parameters["enc.8x8_block0.conv0.weight"] = edm_tensor(np.zeros((3, 4), np.float32))
    found = find(edm_file(tmp_path / "network.pkl", ema=value))
    text = message(lambda: loaded(found))
    assert (
        "enc.8x8_block0.conv0.weight (3, 4) does not give down.0.0.conv.kernel, and the network has (3, 3, 16, 32)"
        in text
    )
    del parameters["enc.8x8_block0.conv0.weight"]
    found = find(edm_file(tmp_path / "network.pkl", ema=value))
    assert "the weights have no array model.enc.8x8_block0.conv0.weight" in message(lambda: loaded(found))
