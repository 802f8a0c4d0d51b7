"""Folders of diffusers as they are published: of older versions, in other layouts, in several files, and damaged."""

import json

import numpy as np
import pytest
from diffusers_folders import DIGITS, SCHEDULER, UNET, WEIGHTS, changed, copied, in_root, scheduled, sharded
from imported import loaded
from option_words import table_of
from refused import message

from fewstep.cli.config.open_run import open_run
from fewstep.cli.verbs import export, import_model
from fewstep.diffusion import X0, Discrete
from fewstep.diffusion.foreign import Indexed
from fewstep.errors import UsageError
from fewstep.zoo import sources
from fewstep.zoo.diffusers import TABLE, arguments_of
from fewstep.zoo.diffusers_settings import settings
from fewstep.zoo.files import safetensors

# google/ddpm-cifar10-32: what its config.json and scheduler_config.json say, and no more.
CIFAR = {
    "_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", "act_fn": "silu", "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256], "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"], "downsample_padding": 0,
    "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1,
    "norm_eps": 1e-06, "norm_num_groups": 32, "out_channels": 3, "sample_size": 32, "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
CIFAR_SCHEDULER = {
    "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001,
    "clip_sample": True, "num_train_timesteps": 1000, "trained_betas": None, "variance_type": "fixed_large",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return copied(tmp_path / "model")


@pytest.fixture(scope="module")
def params():
    """The parameters of the pipeline."""
    return loaded(sources.find(DIGITS))[1]


def assert_same(one, other):
    """Two trees of parameters are equal."""
    import jax

    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_config_of_cifar10_says_all(folder):
    config = settings(folder / UNET, CIFAR, TABLE)
    assert arguments_of(config, (32, 32), folder) == {
        "channels": (128, 256, 256, 256), "blocks": 2, "attention": (16,), "middle_attention": True, "head_size": None,
        "groups": 32, "eps": 1e-6, "modulation": "add", "resampling": "conv", "pad_both": False, "embedding": 512,
        "order": "sin_cos", "shift": 1, "null": False, "dropout": 0.0,
    }  # fmt: skip
    found = sources.find(scheduled(folder, "DDPMScheduler", **CIFAR_SCHEDULER))
    assert found.process == Discrete("linear", 1000)
    assert found.options == (
        '--sampler ddpm --nfe 1000 --grid leading --set "ddpm.variance=\'large\'" --lever "clip_x0()"'
    )


def test_settings_of_later_versions_are_their_defaults(folder, params):
    kept = (
        "_class_name", "sample_size", "in_channels", "out_channels", "layers_per_block", "block_out_channels",
        "down_block_types", "up_block_types", "attention_head_dim",
    )  # fmt: skip
    before = sources.find(DIGITS).network.keywords
    changed(folder, UNET, without=set(json.loads((folder / UNET).read_text())) - set(kept))
    found = sources.find(scheduled(folder, "DDPMScheduler"))
    assert found.network.keywords == before
    assert found.sampled == sources.find(DIGITS).sampled
    assert_same(loaded(found)[1], params)
    changed(folder, UNET, without=("attention_head_dim",))
    assert sources.find(folder).network.keywords["head_size"] == 8
    changed(folder, UNET, {"attention_head_dim": None})
    assert sources.find(folder).network.keywords["head_size"] is None


def test_what_older_schedulers_say(folder):
    scheduled(folder, "DDPMScheduler", predict_epsilon=False, tensor_format="pt")
    assert sources.find(folder).prediction == Indexed(X0)
    changed(folder, SCHEDULER, without=("_class_name",))
    assert sources.find(folder).sampled["scheduler"] == "DDPMScheduler"  # of model_index.json


@pytest.mark.parametrize(
    "layout", [in_root, sharded, lambda folder: in_root(sharded(folder))], ids=["root", "shards", "both"]
)
def test_layouts_of_files_import_and_come_back(layout, folder, tmp_path):
    layout(folder)
    names = {file.name for file in folder.rglob("*.*")} - {"model_index.json"}
    import_model.main(str(folder), str(tmp_path / "run"), None, None, None)
    origin = json.loads((tmp_path / "run" / "run.json").read_text())["imported"]
    assert {file.rpartition("/")[2] for file in origin["files"]} == names
    assert all(len(digest) == 64 for digest in origin["files"].values())
    export.main(str(tmp_path / "run"), str(tmp_path / "out"), "diffusers", None, False)
    weights = WEIGHTS if (folder / "unet").is_dir() else WEIGHTS.rpartition("/")[2]
    ours, theirs = safetensors.read(tmp_path / "out" / weights), safetensors.read(DIGITS / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    for file in folder.rglob("*.json"):
        if ".index" not in file.name:
            assert (tmp_path / "out" / file.relative_to(folder)).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_old_names_of_attention(folder, tmp_path, params):
    """Before diffusers 0.16."""
    renamed = {}
    for name, array in safetensors.read(DIGITS / WEIGHTS).items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{new}.", f".{old}.")
        renamed[name] = np.array(array)
    assert any(".proj_attn." in name for name in renamed)
    safetensors.write(folder / WEIGHTS, renamed)
    import_model.main(str(folder), str(tmp_path / "run"), None, None, None)
    assert_same(open_run(tmp_path / "run").params, params)
    export.main(str(tmp_path / "run"), str(tmp_path / "out"), "diffusers", None, False)
    assert safetensors.read(tmp_path / "out" / WEIGHTS).keys() == renamed.keys()


def test_variants_of_the_weights(folder, params):
    arrays = safetensors.read(DIGITS / WEIGHTS)
    half = {name: np.asarray(array, np.float16) for name, array in arrays.items()}
    safetensors.write(folder / WEIGHTS.replace(".safe", ".non_ema.safe"), half)
    assert_same(loaded(sources.find(folder))[1], params)
    other = sources.find(folder, weights="non_ema")
    assert other.files[1].endswith("diffusion_pytorch_model.non_ema.safetensors")
    assert other.arrays["conv_in.weight"].dtype == np.float16
    text = message(lambda: sources.find(folder, weights="fp16"), UsageError)
    assert "no set of weights" in text
    assert "'fp16'" in text
    assert "main, non_ema" in text
    sharded(folder, ".fp16")
    assert len(sources.find(folder, weights="fp16").files) == 5
    assert sources.find(folder).files == sources.find(folder, weights="fp16").files
    safetensors.write(folder / WEIGHTS.replace(".safe", ".ema.safe"), half)
    for file in (folder / "unet").glob("*fp16*"):
        file.unlink()
    assert "--weights" in message(lambda: sources.find(folder), UsageError)


DAMAGED = [
    *((UNET, "sample_size", value) for value in (None, "8", -8, 8.5, [8], [8, 8, 8], True, 0)),
    *((UNET, key, "a") for key in ("layers_per_block", "num_class_embeds", "norm_eps", "dropout", "freq_shift")),
    *((UNET, "down_block_types", value) for value in (3, None, [3], "DownBlock2D", [], ["DownBlock2D"])),
    *((UNET, "block_out_channels", value) for value in (32, [32, "64"], [32, -64], [], [10**400, 64])),
    *((UNET, key, [1]) for key in ("in_channels", "attention_head_dim", "norm_num_groups", "downsample_type")),
    *((UNET, key, -1) for key in ("out_channels", "time_embedding_dim", "attn_norm_num_groups", "downsample_padding")),
    (UNET, "flip_sin_to_cos", "yes"),
    *((SCHEDULER, "num_train_timesteps", value) for value in ("1000", None, 0, 1e3, 10**9)),
    *((SCHEDULER, key, value) for key in ("beta_start", "beta_end") for value in ("x", -1, 2, float("nan"), 10**400)),
    *((SCHEDULER, "trained_betas", value) for value in ("x", [0.1, float("nan")], [2.0, 2.0], 1, [0.1, 0.2])),
    *((SCHEDULER, key, {}) for key in ("beta_schedule", "prediction_type", "timestep_spacing", "variance_type")),
    (SCHEDULER, "clip_sample_range", float("inf")),
    (SCHEDULER, "steps_offset", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "key", "value"), DAMAGED, ids=str)
def test_damaged_settings_are_refused_by_file_and_key(file, key, value, folder):
    changed(folder, file, {key: value})
    text = message(lambda: sources.find(folder), UsageError)
    assert str(folder / file) in text
    assert key in text
    assert len(text) < 600


def test_damaged_files_are_refused_by_name(folder):
    for file in (UNET, SCHEDULER, "model_index.json"):
        before = (folder / file).read_bytes()
        for damaged in (b"[]", b"[[1, 2]]", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b""):
            (folder / file).write_bytes(damaged)
            if file == "model_index.json":
                changed(folder, SCHEDULER, without=("_class_name",))
            assert str(folder / file) in message(lambda: sources.find(folder), UsageError)
        (folder / file).write_bytes(before)
    changed(folder, UNET, {"_class_name": ["UNet2DModel"]})
    assert "model without a name" in message(lambda: sources.find(folder), UsageError)


def test_a_missing_size_is_said(folder):
    changed(folder, UNET, without=("sample_size",))
    assert "does not say sample_size" in message(lambda: sources.find(folder), UsageError)


def test_blocks_that_resample_in_two_ways(folder):
    changed(folder, UNET, {"downsample_type": "resnet"})  # DownBlock2D has a convolution whatever this says
    assert sources.find(folder).network.keywords["resampling"] == "conv"
    changed(folder, UNET, {"upsample_type": "resnet"})
    assert "resample in two ways" in message(lambda: sources.find(folder), UsageError)


def test_a_model_card_that_is_no_text(folder):
    (folder / "README.md").write_bytes(b"\xff")
    assert sources.find(folder).licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: 'apache-2.0'\n---\n")
    assert sources.find(folder).licence == "apache-2.0"


INDEXED = {"num_train_timesteps": 200}
WORDS = [
    ("DDPMScheduler", INDEXED, '--sampler ddpm --nfe 200 --grid leading --lever "clip_x0()"', ()),
    ("DDPMScheduler", {"variance_type": "learned_range"}, "ddpm --nfe 1000", ("variance_type learned_range",)),
    ("DDPMScheduler", {"thresholding": True, "sample_max_value": 2}, "dynamic_threshold(0.995)", ("max_value 2",)),
    ("DDPMScheduler", {"thresholding": True}, '--lever "clip_x0()"', ()),
    ("DDPMScheduler", {"steps_offset": 1, "clip_sample": False}, "--grid leading", ("steps_offset 1",)),
    ("DDIMScheduler", {}, '--sampler ddim --nfe 50 --grid leading --lever "clip_x0(rebuild=False)"', ()),
    ("DDIMScheduler", {"num_train_timesteps": 20}, "--nfe 20", ()),
    ("DDIMScheduler", {"clip_sample_range": 2.5}, 'clip_x0(-2.5, 2.5, rebuild=False)"', ()),
    ("DDIMScheduler", {"set_alpha_to_one": False}, "--nfe 50", ("set_alpha_to_one False",)),
    ("DDIMScheduler", {"set_alpha_to_one": False, "steps_offset": 1}, "leading.offset=1 --set leading.end=0.001", ()),
    ("DDIMScheduler", {"timestep_spacing": "linspace"}, "--grid linspace", ("linspace",)),
    ("PNDMScheduler", {}, "--sampler pndm --nfe 59 --grid leading", ("set_alpha_to_one False",)),
    ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}, "--sampler plms --nfe 51", ("last step",)),
    ("DPMSolverMultistepScheduler", {}, "--sampler dpmpp_2m --nfe 50 --grid linspace", ("without its last",)),
    ("DPMSolverMultistepScheduler", {"timestep_spacing": "trailing"}, "--grid trailing", ()),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, "--grid karras", ("use_karras_sigmas",)),
    ("DPMSolverMultistepScheduler", {"use_beta_sigmas": True}, "--set \"beta.domain='sigma'\"", ("use_beta_sigmas",)),
    ("DPMSolverMultistepScheduler", {"solver_order": 3}, "dpmpp_3m.kappa=1.0", ("linspace",)),
    ("DPMSolverMultistepScheduler", {"solver_order": 1}, "--sampler ddim", ("linspace",)),
    ("DPMSolverMultistepScheduler", {"solver_type": "heun"}, "--sampler exponential_ab", ("linspace",)),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "exponential_ab.form='noise'", ("dpmsolver of",)),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "--sampler dpmpp_2m_sde", ("linspace",)),
    ("DPMSolverMultistepScheduler", {"lower_order_final": False}, "dpmpp_2m.lower_final=False", ("linspace",)),
    ("DPMSolverMultistepScheduler", {"lambda_min_clipped": -5.1}, "dpmpp_2m", ("lambda_min_clipped -5.1",)),
    ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}, "--sampler unipc --nfe 50 --grid trailing", ()),
    ("UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh1"}, "unipc.order=3", ("linspace",)),
    ("UniPCMultistepScheduler", {"predict_x0": False, "final_sigmas_type": "sigma_min", "timestep_spacing": "trailing"},
     "--set trailing.end=0.001", ()),
    ("EDMEulerScheduler", {}, "--sampler euler --nfe 50 --grid karras", ()),
    ("EDMEulerScheduler", {"sigma_schedule": "exponential"}, "--grid log_snr", ()),
    ("EDMDPMSolverMultistepScheduler", {"rho": 5.0}, "dpmpp_2m --nfe 50 --grid karras --set karras.rho=5.0", ()),
    ("EDMDPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, "dpmpp_2m", ("final_sigmas_type",)),
    ("CMStochasticIterativeScheduler", {}, '--sampler consistency --nfe 1 --lever "clip_x0()"', ()),
    ("CMStochasticIterativeScheduler", {"clip_denoised": False}, "--sampler consistency --nfe 1", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "words", "lacks"), WORDS, ids=str)
def test_the_words_of_every_scheduler(name, config, words, lacks, folder):
    """They have tables of the calls that they say; what they do not reproduce is said."""
    found = sources.find(scheduled(folder, name, **config))
    assert words in found.options
    assert bool(found.differs) == bool(lacks)
    assert all(part in found.differs for part in lacks)
    assert found.sampled["scheduler"] == name
    table_of(found)


def test_a_learned_range_is_sampled(folder):
    changed(folder, UNET, {"out_channels": 2})
    found = sources.find(scheduled(folder, "DDPMScheduler", variance_type="learned_range"))
    assert "--set \"ddpm.variance='range'\"" in found.options
    assert not found.differs


def test_consistency_keeps_what_its_authors_set(folder):
    found = sources.find(scheduled(folder, "CMStochasticIterativeScheduler", s_noise=1.1))
    assert found.sampled["clip_denoised"] is True
    assert found.sampled["s_noise"] == 1.1


def test_minus_infinity_as_diffusers_writes_it(folder):
    scheduled(folder, "DPMSolverMultistepScheduler", lambda_min_clipped=-float("inf"))
    assert "-Infinity" in (folder / SCHEDULER).read_text()
    assert "lambda" not in sources.find(folder).differs
