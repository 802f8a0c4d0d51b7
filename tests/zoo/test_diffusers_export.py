"""A UNet2D of ours in the form of diffusers: what is written opens as the same model, and what has no form is named."""

import dataclasses
import json

import numpy as np
import pytest
from diffusers_folders import DIGITS, SCHEDULER, UNET, changed, copied, scheduled
from imported import loaded
from refused import message

from fewstep.diffusion import EPS, VE, VELOCITY, VP, Discrete, V, edm
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.foreign import Indexed
from fewstep.diffusion.variance import NPR, LearnedRange
from fewstep.errors import UsageError
from fewstep.zoo.diffusers import find
from fewstep.zoo.diffusers_export import pipeline
from fewstep.zoo.files import safetensors


def model_of(found, apply=None):
    capabilities = found.objective.capabilities
    return Model(apply, found.process, found.prediction, found.classes, capabilities, found.variance)


def written(folder, found, apply, params):
    """The pipeline of an imported model, written anew from its parameters alone."""
    texts, weights, arrays = pipeline(found.network.keywords, model_of(found, apply), found.shape, params)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    safetensors.write(folder / weights, arrays)
    return find(folder)


CONSISTENCY = {"sigma_min": 0.01, "sigma_max": 50.0, "sigma_data": 0.4}
SCHEDULERS = {
    "linear": ("DDPMScheduler", {}),
    "zero_snr": ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True}),
    "latent": (
        "DDIMScheduler",
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction"},
    ),
    "own": ("DDPMScheduler", {"num_train_timesteps": 40, "trained_betas": np.linspace(0.01, 0.3, 40).tolist()}),
    "few": ("DDPMScheduler", {"num_train_timesteps": 40, "beta_start": 0.0025, "beta_end": 0.5}),
    "edm": ("EDMEulerScheduler", {"sigma_data": 0.4, "sigma_max": 60.0}),
    "consistency": ("CMStochasticIterativeScheduler", CONSISTENCY),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_is_written_opens_as_the_same_model(name, tmp_path):
    kind, settings = SCHEDULERS[name]
    found = find(scheduled(copied(tmp_path / "theirs"), kind, **settings))
    apply, params = loaded(found)
    again = written(tmp_path / "ours", found, apply, params)
    assert (again.process, again.prediction, again.shape) == (found.process, found.prediction, found.shape)
    assert again.objective.capabilities == found.objective.capabilities
    assert loaded(again)[0] == apply
    assert again.arrays.keys() == found.arrays.keys()
    for key, array in found.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], array)


def test_the_config_is_that_of_diffusers(tmp_path):
    found = find(DIGITS)
    written(tmp_path, found, *loaded(found))
    theirs = json.loads((DIGITS / UNET).read_text())
    ours = json.loads((tmp_path / UNET).read_text())
    implied = {"upsample_type", "downsample_type", "attn_norm_num_groups", "time_embedding_dim", "num_class_embeds"}
    for key in ours.keys() & theirs.keys() - implied - {"_diffusers_version"}:
        assert ours[key] == theirs[key], key
    assert json.loads((tmp_path / SCHEDULER).read_text())["prediction_type"] == "epsilon"


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        ({"project": True}, {}, "UNet2D.project = False, and this network True"),
        ({"decoder_attention": "last"}, {}, "UNet2D.decoder_attention = 'every', and this network 'last'"),
        ({"null": True}, {"classes": 3}, "UNet2D.null = False, and this network True"),
        ({"stem": 8}, {}, "UNet2D.stem = 32, and this network 8"),
        ({"channels": (32, 48), "head_size": None}, {}, "UNet2D.groups = 32 does not divide 48 channels"),
        ({"head_size": 48}, {}, "attention of 64 channels does not divide into heads of 48"),
        ({}, {"process": VP()}, "a model of VP with this prediction is not written"),
        ({}, {"process": VE(geometric=True), "prediction": edm(0.5)}, "a model of VE with this prediction"),
        ({}, {"process": VE(), "prediction": EPS}, "a model of VE with this prediction"),
        ({}, {"prediction": Indexed(V, rounded=True)}, "a model of Discrete with this prediction"),
        ({}, {"prediction": Indexed(VELOCITY)}, "a model of Discrete with this prediction"),
        ({}, {"capabilities": frozenset({"zero"})}, "this model learned jumps to the data"),
        ({}, {"guided": 3.0}, "no guidance as an input"),
        ({}, {"calls": 6}, "the 6 calls that this model was trained for"),
        ({}, {"variance": NPR()}, "no second output like NPR"),
    ],
)
def test_what_diffusers_has_not_is_named(arguments, changes, words):
    found = find(DIGITS)
    model = dataclasses.replace(model_of(found), **changes)
    assert words in message(lambda: pipeline(found.network.keywords | arguments, model, (8, 8, 1), {}), UsageError)


def test_one_array_has_both_outputs(tmp_path):
    folder = copied(tmp_path / "theirs")
    found = find(folder)
    rng = np.random.default_rng(0)
    arrays = dict(found.arrays)
    for name in ("conv_out.weight", "conv_out.bias"):
        arrays[name] = rng.normal(size=(2, *arrays[name].shape[1:])).astype(np.float32)
    safetensors.write(folder / "unet/diffusion_pytorch_model.safetensors", arrays)
    changed(folder, UNET, {"out_channels": 2})
    found = find(scheduled(folder, "DDPMScheduler", variance_type="learned_range"))
    again = written(tmp_path / "ours", found, *loaded(found))
    assert again.variance == LearnedRange()
    for name in arrays:
        np.testing.assert_array_equal(again.arrays[name], arrays[name])


def test_default_numbers_are_written_out(tmp_path):
    found = find(DIGITS)
    apply, params = loaded(found)
    unused = {"label": "before", "filter": "tent", "heads": 4, "channels": [32, 64]}
    arguments = found.network.keywords | {"embedding": None, "attention": (4, 64)} | unused
    model = dataclasses.replace(model_of(found, apply), process=Discrete(tuple(np.linspace(1e-4, 2e-2, 1000))))
    texts, _, _ = pipeline(arguments, model, (8, 8, 1), params)
    assert '"AttnDownBlock2D"' in texts[UNET]
    assert '"num_train_timesteps": 1000' in texts[SCHEDULER]
