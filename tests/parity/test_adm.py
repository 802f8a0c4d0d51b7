"""ADM, improved-diffusion and consistency models, against arrays of make_fixtures/adm.py, computed by the originals."""

import jax
import numpy as np
import pytest
from guided_files import fixture, guided_file
from imported import assert_close, assert_exports, loaded

from fewstep.diffusion.denoiser import Cond, Model
from fewstep.zoo.guided_diffusion import find

ABOUT, ARRAYS = fixture()
INDEXED = ("new_order", "old_order", "stem", "improved", "added")
EVERYWHERE = {"groups": 32, "eps": 1e-5, "order": "cos_sin", "label": "after", "null": False, "pad_both": True}
SETTINGS = {
    "new_order": {"modulation": "scale_shift", "resampling": "block", "channels": (32, 96), "attention": (4,)},
    "old_order": {"modulation": "scale_shift", "resampling": "block", "blocks": 2, "attention": (8, 4)},
    "stem": {"resampling": "conv", "stem": 32, "waves": 64, "embedding": 256, "channels": (32, 64)},
    "improved": {"modulation": "scale_shift", "resampling": "conv", "heads": 4, "head_size": None},
    "added": {"modulation": "add", "resampling": "conv", "heads": 1, "head_size": None},
    "consistency": {"modulation": "scale_shift", "resampling": "block"},
    "teacher": {"modulation": "add", "resampling": "block", "attention": (8, 4)},
}


QUICK = ("improved", "consistency")  # one of each way to count time


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in SETTINGS])
def case(request, tmp_path_factory):
    """(name, what was found in its file, its arrays with channels last)."""
    name = request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = find(guided_file(tmp_path_factory.mktemp(name), name, monkeypatch), name)
    arrays = {key.partition(".")[2]: value for key, value in ARRAYS.items() if key.startswith(f"{name}.")}
    arrays |= {key: arrays[key].transpose(0, 2, 3, 1) for key in ("x", "out")}
    return name, found, arrays


def test_settings(case):
    name, found, _ = case
    assert (EVERYWHERE | SETTINGS[name]).items() <= found.network.keywords.items()


def time_told(name, found, told):
    """The times at which our clock says what the network was told, in float64; improved-diffusion counts up to 1000."""
    if name not in INDEXED:
        return np.exp(told.astype(np.float64) / 250) / 80
    return (told.astype(np.float64) * (4 if name == "improved" else 1) + 1) / found.process.count


def test_outputs_and_predictions_are_equal(case):
    name, found, arrays = case
    apply, params = loaded(found)
    t, cond, raw = time_told(name, found, arrays["told"]), Cond(arrays["label"] if found.classes else None), []
    np.testing.assert_allclose(found.prediction.clock(found.process, t), arrays["told"], rtol=1e-6, atol=1e-12)

    def network(*args):
        raw.append(apply(*args))
        return raw[-1]

    model = Model(network, found.process, found.prediction, found.classes, variance=found.variance, null_class=False)
    with jax.default_matmul_precision("highest"):
        pred, output = jax.jit(lambda params, x: (model.denoiser(params)(x, t, None, cond), raw.pop()))(
            params, arrays["x"]
        )
    if name not in INDEXED:
        np.testing.assert_allclose(80 * t, arrays["sigma"], rtol=3e-6)
        for one, wanted in zip(np.asarray(pred.x0), arrays["out"], strict=True):
            assert_close(one, wanted)
        return
    assert_close(np.asarray(output), arrays["out"])
    assert_close(np.asarray(pred.eps), arrays["out"][..., :3])
    if found.variance:
        assert_close(np.asarray(pred.range), (arrays["out"][..., 3:] + 1) / 2)


def test_every_array_comes_back(case):
    assert assert_exports(case[1]) == set()
