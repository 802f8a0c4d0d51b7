"""DiT against diffusers' DiTTransformer2DModel, with random weights everywhere."""

import json

import numpy as np
import pytest
from diffusers_folders import in_root
from imported import assert_close, assert_exports, output

from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.zoo import sources
from fewstep.zoo.diffusers_dit import find

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

NARROW = {"num_attention_heads": 3, "attention_head_dim": 8, "in_channels": 2, "num_layers": 3, "sample_size": 8}
CASES = {
    "variance": NARROW | {"out_channels": 4, "patch_size": 2, "num_embeds_ada_norm": 5},
    "plain": NARROW | {"patch_size": 4, "num_embeds_ada_norm": 7},
}


def made(config, folder, shared=True):
    """A model with random weights, saved as a pipeline's folder; shared: all blocks have the same embeddings, as in the
    published weights, which is what DiT is."""
    torch.manual_seed(0)
    model = diffusers.DiTTransformer2DModel(**config, norm_eps=1e-6).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.3)
        first = model.transformer_blocks[0].norm1.emb
        for block in model.transformer_blocks[1:] if shared else ():
            block.norm1.emb.load_state_dict(first.state_dict())
    model.save_pretrained(folder / "transformer")
    diffusers.DDIMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "DiTPipeline"}')
    return model


def as_trained(model):
    """With the features of the time that the published weights were trained with, and with the norm of all DiTs."""
    for block in model.transformer_blocks:
        assert block.norm1.emb.time_proj.downscale_freq_shift == 1  # what diffusers computes
        block.norm1.emb.time_proj.downscale_freq_shift = 0
        assert block.norm1.norm.eps == block.norm3.eps == 1e-6
    return model


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_equal(name, tmp_path):
    model, found = as_trained(made(CASES[name], tmp_path)), sources.find(tmp_path)
    channels = CASES[name]["in_channels"]
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, channels, 8, 8)).astype(np.float32), np.array([17.0, 803.0], np.float32)
    label = np.array([2, CASES[name]["num_embeds_ada_norm"]])  # the null class is the last
    with torch.no_grad():
        theirs = model(torch.from_numpy(x), torch.from_numpy(t), torch.from_numpy(label)).sample.numpy()
    assert (found.variance == LearnedRange()) == (name == "variance")
    assert_close(output(found, x.transpose(0, 2, 3, 1), t, label), theirs.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("name", CASES)
def test_every_array_comes_back_also_the_copies_in_all_blocks(name, tmp_path):
    made(CASES[name], tmp_path)
    assert assert_exports(find(tmp_path)) <= {"pos_embed.pos_embed"}


def test_blocks_with_embeddings_of_their_own_are_another_network(tmp_path):
    made(CASES["plain"], tmp_path, shared=False)
    with pytest.raises(UsageError, match=r"transformer_blocks\.1\.norm1\.emb\..* is not equal to"):
        assert_exports(find(tmp_path))


def test_all_files_in_the_root(tmp_path):
    made(CASES["plain"], tmp_path / "model")
    before = sources.find(tmp_path / "model")
    found = sources.find(in_root(tmp_path / "model", "transformer"))
    assert found.network.keywords == before.network.keywords
    assert set(found.texts) == {"model_index.json", "config.json", "scheduler_config.json"}
    assert found.weights == "diffusion_pytorch_model.safetensors"
    assert assert_exports(found) <= {"pos_embed.pos_embed"}
    (tmp_path / "model" / found.weights).rename(tmp_path / "model" / "diffusion_pytorch_model.fp16.safetensors")
    assert sources.find(tmp_path / "model", weights="fp16").files[1].endswith("fp16.safetensors")
    with pytest.raises(UsageError, match="'ema'"):
        sources.find(tmp_path / "model", weights="ema")


@pytest.mark.parametrize(
    ("key", "value"), [("num_layers", "3"), ("sample_size", None), ("patch_size", 0), ("norm_type", "layer_norm")]
)
def test_damaged_settings_are_refused_by_name(key, value, tmp_path):
    made(CASES["plain"], tmp_path)
    path = tmp_path / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UsageError, match=f"config.json has {key}"):
        sources.find(tmp_path)
