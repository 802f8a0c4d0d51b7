"""UNet2D against diffusers' UNet2DModel, with random weights everywhere, in narrow shapes that show every setting."""

from pathlib import Path

import jax
import numpy as np
import pytest
from imported import assert_close, assert_exports, output

from fewstep.zoo.diffusers import find

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

DIGITS = Path(__file__).parents[1] / "foreign" / "ddpm-digits"
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


def made(config, folder):
    """A model with random weights, saved as a pipeline's folder."""
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(sample_size=(8, 16), **config).eval()
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


def test_a_pipeline_of_twenty_ddim_steps_draws_the_same_images(tmp_path):
    """From the same noise, clipped as the pipeline clips."""
    from fewstep.cli.config.open_run import open_run
    from fewstep.cli.verbs.import_model import main

    main(str(DIGITS), str(tmp_path / "run"), None, None, None)
    run = open_run(tmp_path / "run")
    start = np.random.default_rng(3).normal(size=(4, 8, 8, 1)).astype(np.float32)
    table = run.table("ddim", 20, "leading")
    with jax.default_matmul_precision("highest"):
        ours = run.follow(table, range(4), start=start, levers=["clip_x0(rebuild=False)"])
    model = diffusers.UNet2DModel.from_pretrained(DIGITS / "unet", torch_dtype=torch.float32)
    scheduler = diffusers.DDIMScheduler.from_pretrained(DIGITS / "scheduler")
    scheduler.set_timesteps(20)
    x = torch.from_numpy(start).permute(0, 3, 1, 2)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t).sample, t, x).prev_sample
    assert abs(ours - x.permute(0, 2, 3, 1).numpy()).max() <= 1e-4


def test_diffusers_opens_what_is_exported(tmp_path):
    from fewstep.cli.verbs import export, import_model

    import_model.main(str(DIGITS), str(tmp_path / "run"), None, None, None)
    export.main(str(tmp_path / "run"), str(tmp_path / "out"), "diffusers", None, False)
    one, other = (diffusers.DDPMPipeline.from_pretrained(folder) for folder in (DIGITS, tmp_path / "out"))
    for name, weight in one.unet.state_dict().items():
        assert torch.equal(weight, other.unet.state_dict()[name]), name
    assert one.scheduler.config == other.scheduler.config
