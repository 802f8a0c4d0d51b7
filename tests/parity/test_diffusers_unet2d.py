"""UNet2D against diffusers' UNet2DModel, with random weights everywhere, in narrow shapes that show every setting."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from diffusers_folders import DIGITS, copied
from imported import assert_close, assert_exports, loaded, output
from option_words import table_of

from fewstep.cli.config.open_run import open_run
from fewstep.cli.verbs.import_model import main
from fewstep.diffusion.denoiser import Model
from fewstep.zoo.diffusers import find
from fewstep.zoo.diffusers_export import pipeline
from fewstep.zoo.files import safetensors

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

PLAIN = {
    "in_channels": 3, "out_channels": 3, "norm_num_groups": 4, "block_out_channels": (8, 16, 24), "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
RESNET = {
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "block_out_channels": (16, 24),
    "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"), "layers_per_block": 1,
    "resnet_time_scale_shift": "scale_shift", "downsample_type": "resnet", "upsample_type": "resnet",
    "attention_head_dim": 8, "attn_norm_num_groups": 4, "num_class_embeds": 5,
}  # fmt: skip
DDPM = {
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "attention_head_dim": None,
}
CASES = {
    "ddpm": (PLAIN | DDPM, {"eps": 1e-6, "pad_both": False, "order": "sin_cos", "shift": 1, "head_size": None}),
    "conv": (PLAIN | {"attention_head_dim": 4}, {"eps": 1e-5, "pad_both": True, "order": "cos_sin", "head_size": 4}),
    "consistency": (PLAIN | RESNET, {"modulation": "scale_shift", "resampling": "block", "null": False}),
    "variance": (PLAIN | {"out_channels": 6, "add_attention": False}, {"middle_attention": False}),
}


def made(config, folder, size=(8, 16)):
    """A model with random weights, saved as a pipeline's folder."""
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(sample_size=size, **config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0, weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.3)
            if "norm" in name and name.endswith("weight"):
                weight += 1
    model.save_pretrained(folder / "unet")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    return model


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_equal(name, tmp_path):
    config, settings = CASES[name]
    model, found = made(config, tmp_path), find(tmp_path)
    assert settings.items() <= found.network.keywords.items()
    assert found.network.keywords["groups"] == 4
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, 3, 8, 16)).astype(np.float32), np.array([17.0, 803.0], np.float32)
    label = np.array([4, 2]) if "num_class_embeds" in config else None
    with torch.no_grad():
        labels = None if label is None else torch.from_numpy(label)
        theirs = model(torch.from_numpy(x), torch.from_numpy(t), labels).sample.numpy().transpose(0, 2, 3, 1)
    if name == "variance":
        assert found.variance is not None
    ours = output(found, x.transpose(0, 2, 3, 1), t, label)
    assert_close(ours, theirs)


@pytest.mark.parametrize("name", CASES)
def test_every_array_is_used_and_comes_back(name, tmp_path):
    made(CASES[name][0], tmp_path)
    assert assert_exports(find(tmp_path)) == set()


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_from_our_parameters_alone_is_theirs(name, tmp_path):
    model, found = made(CASES[name][0], tmp_path / "theirs"), find(tmp_path / "theirs")
    apply, params = loaded(found)
    ours = Model(apply, found.process, found.prediction, found.classes, variance=found.variance)
    texts, weights, arrays = pipeline(found.network.keywords, ours, found.shape, params)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text(texts["unet/config.json"])
    safetensors.write(tmp_path / weights, arrays, {"format": "pt"})
    again = diffusers.UNet2DModel.from_pretrained(tmp_path, subfolder="unet", low_cpu_mem_usage=False).eval()
    x, t = torch.randn(2, 3, 8, 16), torch.tensor([17.0, 803.0])
    label = torch.tensor([4, 2]) if found.classes else None
    with torch.no_grad():
        np.testing.assert_allclose(again(x, t, label).sample, model(x, t, label).sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "classes", "edm"])
def test_a_pipeline_that_is_written_draws(name, tmp_path):
    """Of data of mean 0 and deviation 0.5, which EDM's form knows without a network."""
    config = PLAIN | ({"num_class_embeds": 5} if name == "classes" else {})
    made(config, tmp_path / "theirs", 16)  # this pipeline draws squares only
    scheduler = diffusers.EDMEulerScheduler() if name == "edm" else diffusers.DDPMScheduler()
    scheduler.save_pretrained(tmp_path / "theirs/scheduler")
    found = find(tmp_path / "theirs")
    apply, params = loaded(found)
    params = jax.tree.map(jax.numpy.zeros_like, params)
    ours = Model(apply, found.process, found.prediction, found.classes)
    texts, weights, arrays = pipeline(found.network.keywords, ours, found.shape, params)
    for file, text in texts.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    safetensors.write(tmp_path / weights, arrays, {"format": "pt"})
    drawn = diffusers.DiffusionPipeline.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    options = {"class_labels": torch.tensor([4, 2])} if name == "classes" else {}
    images = drawn(batch_size=2, num_inference_steps=20, output_type="np", **options).images
    assert images.shape == (2, 16, 16, 3)
    if name == "edm":
        assert (2 * images - 1).std() == pytest.approx(0.5, abs=0.1)


# Schedulers whose printed words say all, and the number of steps of their loop.
LOOPS = {
    "DDIMScheduler offset": ({"set_alpha_to_one": False, "steps_offset": 1, "clip_sample_range": 0.9}, 50),
    "DDIMScheduler threshold": ({"thresholding": True, "timestep_spacing": "trailing"}, 50),
    "PNDMScheduler": ({"steps_offset": 1}, 50),
    "PNDMScheduler plms": ({"skip_prk_steps": True, "steps_offset": 1}, 50),
    "DPMSolverMultistepScheduler": ({"timestep_spacing": "trailing", "thresholding": True}, 50),
    "UniPCMultistepScheduler": ({"timestep_spacing": "trailing"}, 50),
}


def theirs_of(folder, scheduler, steps, start):
    """The images of diffusers' loop."""
    model = diffusers.UNet2DModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    scheduler.set_timesteps(steps)
    x = torch.from_numpy(start).permute(0, 3, 1, 2)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOPS)
def test_the_printed_words_draw_the_images_of_the_loop(name, tmp_path):
    """From the same noise, clipped as the scheduler clips, on the grid that it takes."""
    config, steps = LOOPS[name]
    folder = copied(tmp_path / "model")
    scheduler = getattr(diffusers, name.partition(" ")[0])(**config)
    scheduler.save_pretrained(folder / "scheduler")
    main(str(folder), str(tmp_path / "run"), None, None, None)
    found = find(folder)
    assert not found.differs
    run = open_run(tmp_path / "run")
    start = np.random.default_rng(3).normal(size=(2, 8, 8, 1)).astype(np.float32)
    levers = re.findall('--lever "(.*?)"', found.options)
    with jax.default_matmul_precision("highest"):
        ours = run.follow(table_of(found), range(2), start=start, levers=levers)
    theirs = theirs_of(folder, scheduler, steps, start)
    assert abs(ours - theirs).max() <= 2e-4 * max(1, abs(theirs).max())


def test_weights_of_torch_and_shards_of_diffusers(tmp_path):
    """A .bin folder and a sharded one, as diffusers writes them."""
    model = diffusers.UNet2DModel.from_pretrained(DIGITS / "unet", torch_dtype=torch.float32)
    for name, options in (("bin", {"safe_serialization": False}), ("shards", {"max_shard_size": "1MB"})):
        folder = copied(tmp_path / name)
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        model.save_pretrained(folder / "unet", **options)
        main(str(folder), str(tmp_path / f"{name}-run"), None, None, None)
        said = json.loads((tmp_path / f"{name}-run" / "run.json").read_text())["imported"]["files"]
        assert {Path(file).name for file in said} >= {file.name for file in (folder / "unet").iterdir()}
        found = find(folder)
        for key, weight in model.state_dict().items():
            assert np.array_equal(found.arrays[key], weight.numpy()), key


def test_diffusers_opens_what_is_exported(tmp_path):
    from fewstep.cli.verbs import export, import_model

    import_model.main(str(DIGITS), str(tmp_path / "run"), None, None, None)
    export.main(str(tmp_path / "run"), str(tmp_path / "out"), "diffusers", None, False)
    one, other = (diffusers.DDPMPipeline.from_pretrained(folder) for folder in (DIGITS, tmp_path / "out"))
    for name, weight in one.unet.state_dict().items():
        assert torch.equal(weight, other.unet.state_dict()[name]), name
    assert one.scheduler.config == other.scheduler.config
