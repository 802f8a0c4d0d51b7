"""DiT against the authors' networks: DiT, SiT and MeanFlow, by the fixtures that make_fixtures/dit.py and meanflow.py
made."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dit_files import write_flax, write_pt
from imported import assert_close, assert_exports, loaded, output
from seeded_weights import seeded

from fewstep.diffusion import Cond, Model
from fewstep.diffusion.networks.dit_blocks import modulated
from fewstep.zoo import dit, meanflow
from fewstep.zoo.transformer import Size

FIXTURES = Path(__file__).parent / "fixtures"


def read(name):
    with np.load(FIXTURES / f"{name}.npz") as file:
        return json.loads(str(file["about"])), {key: file[key] for key in file.files if key != "about"}


@pytest.fixture(params=["dit", "plain", "sit", "sit_plain"])
def published(request, monkeypatch, tmp_path):
    """(what was found, the arrays of the fixture, the arguments of the original)."""
    about, arrays = read("dit")
    case = about[request.param]
    given = {key.partition(".")[2]: array for key, array in arrays.items() if key.startswith(f"{request.param}.")}
    weights = {name: seeded(name, tuple(shape)) for name, shape in case["shapes"].items()}
    kwargs = case["kwargs"]
    size = Size(kwargs["hidden_size"], kwargs["depth"], kwargs["num_heads"], kwargs["patch_size"])
    name = f"{case['kind']}-T/{size.patch}"
    monkeypatch.setitem(dit.PRESETS, name, size)
    path = write_pt(tmp_path / "model.pt", weights | {"pos_embed": given["pos_embed"]})
    return dit.find(path, name), given, kwargs


def first(x):
    """Channels first to channels last."""
    return x.transpose(0, 2, 3, 1)


def test_dit_and_sit_are_the_published_ones(published):
    found, given, kwargs = published
    theirs = first(given["out"])
    ours = output(found, first(given["x"]), given["told"], given["label"])
    assert_close(ours, theirs)
    assert found.classes == kwargs["num_classes"]
    assert (found.variance is not None) == (theirs.shape[-1] == 6)


def test_their_settings_are_those_that_outputs_hardly_show(published):
    found, _, kwargs = published
    settings = {"waves": 256, "columns_first": True, "joint": True, "ratio": kwargs.get("mlp_ratio", 4)}
    assert settings.items() <= found.network.keywords.items()


def test_norms_add_1e_6_to_the_variance():
    x = 1e-3 * np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    theirs = 2 * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    ours = modulated(jnp.asarray(x), jnp.ones((2, 8)), jnp.zeros((2, 8)), centred=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_denoiser_is_told_what_the_authors_tell_the_network(published):
    """DiT: index n of 1000, x = alpha x0 + sigma eps.  SiT: x = t x0 + (1 - t) eps at their t, with v = x0 - eps."""
    found, given, _ = published
    apply, params = loaded(found)
    den = Model(apply, found.process, found.prediction, found.classes, variance=found.variance).denoiser(params)
    x, out, told = first(given["x"]), first(given["out"]), given["told"]
    sit = "SiT" in found.kind
    t = 1 - told if sit else (told + 1) / 1000
    with jax.default_matmul_precision("highest"):
        pred = den(jnp.asarray(x), jnp.asarray(t), None, Cond(jnp.asarray(given["label"])))
    if sit:
        assert_close(np.asarray(pred.x0), x + (1 - told)[:, None, None, None] * out, 1e-4)
        assert_close(np.asarray(pred.eps), x - told[:, None, None, None] * out, 1e-4)
        return
    assert_close(np.asarray(pred.eps), out[..., :3], 1e-4)
    if found.variance:
        assert_close(np.asarray(pred.range), (out[..., 3:] + 1) / 2, 1e-4)


@pytest.fixture
def jumps(monkeypatch, tmp_path):
    about, given = read("meanflow")
    kwargs = about["kwargs"]
    weights = {name: seeded(name, tuple(shape)) for name, shape in about["shapes"].items()}
    size = Size(kwargs["hidden_size"], kwargs["depth"], kwargs["num_heads"], kwargs["patch_size"])
    monkeypatch.setitem(meanflow.PRESETS, "MeanFlow-T/8", size)
    return meanflow.find(write_flax(tmp_path / "checkpoint_7", weights), "MeanFlow-T/8"), given


def test_meanflow_is_the_published_one(jumps):
    found, given = jumps
    assert_close(output(found, given["x"], given["t"], given["label"], given["h"]), given["out"])
    assert found.network.keywords["jump_layers"]
    assert assert_exports(found) == set()


@pytest.mark.slow
def test_one_step_of_meanflow_is_the_published_one(jumps):
    """z_r = z - (t - r) u from t to r; the first image of the fixture goes from 1 to 0."""
    found, given = jumps
    apply, params = loaded(found)
    options = {"classes": found.classes, "capabilities": found.objective.capabilities}
    den = Model(apply, found.process, found.prediction, **options).denoiser(params)
    t, h = given["t"], given["h"]
    with jax.default_matmul_precision("highest"):
        pred = den(jnp.asarray(given["x"]), jnp.asarray(t), jnp.asarray(t - h), Cond(jnp.asarray(given["label"])))
    s = (t - h)[:, None, None, None]
    theirs = given["x"] - h[:, None, None, None] * given["out"]
    assert_close(np.asarray((1 - s) * pred.x0 + s * pred.eps), theirs, 1e-4)
