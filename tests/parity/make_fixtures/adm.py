"""Makes tests/parity/fixtures/adm.npz with guided-diffusion, improved-diffusion and consistency_models of openai.

    git clone https://github.com/openai/guided-diffusion
    git clone https://github.com/openai/improved-diffusion
    git clone https://github.com/openai/consistency_models
    git -C guided-diffusion checkout 22e0df8183507e13a7813f8d38d51b072ca1e67c
    git -C improved-diffusion checkout 1bc7bbbdc414d83d4abf2ad8cc1446dc36c4e4d5
    git -C consistency_models checkout e32b69ee436d518377db86fb2127a3972d0d8716
    pip install torch==2.13.0 numpy einops
    python tests/parity/make_fixtures/adm.py guided-diffusion improved-diffusion consistency_models

Weights are those of helpers/seeded_weights.py.  The cases of UNetModel have in and out its raw outputs at fractional
indices; those of consistency models the denoised images at noise levels, and the times that the network was told.
Their attention is a kernel for GPUs; here it is computed as that kernel documents it.
"""

import math
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[:0] = [*sys.argv[1:4], str(HERE.parents[1] / "helpers")]

from fixture_files import write
from seeded_weights import seeded

SEED = 0
COMMITS = {
    "openai/guided-diffusion": "22e0df8183507e13a7813f8d38d51b072ca1e67c",
    "openai/improved-diffusion": "1bc7bbbdc414d83d4abf2ad8cc1446dc36c4e4d5",
    "openai/consistency_models": "e32b69ee436d518377db86fb2127a3972d0d8716",
}


class FlashAttention(torch.nn.Module):
    """(B, tokens, 3, heads, size) -> (B, tokens, heads, size): queries, keys and values."""

    def __init__(self, **options):
        super().__init__()

    def forward(self, qkv, **options):
        q, k, v = qkv.unbind(2)
        weight = torch.einsum("bthc,bshc->bhts", q, k) / math.sqrt(q.shape[-1])
        return torch.einsum("bhts,bshc->bthc", weight.softmax(-1), v), None


def stub(name, **values):
    """A module that is imported but not used here."""
    module = ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module


stub("flash_attn")
stub("flash_attn.flash_attention", FlashAttention=FlashAttention)
for _name in ("piq", "torchvision", "torchvision.transforms", "blobfile", "mpi4py"):
    stub(_name, LPIPS=None, RandomCrop=None, MPI=None)

NARROW = {"image_size": 8, "in_channels": 3, "model_channels": 32, "num_res_blocks": 1}
ADM = NARROW | {"out_channels": 6, "use_scale_shift_norm": True, "num_head_channels": 16, "num_classes": 5}
CASES = {
    "new_order": ("guided_diffusion", ADM | {
        "channel_mult": (1, 3), "attention_resolutions": (2,), "resblock_updown": True, "use_new_attention_order": True,
    }),
    "old_order": ("guided_diffusion", ADM | {
        "channel_mult": (1, 2), "attention_resolutions": (1, 2), "resblock_updown": True, "num_res_blocks": 2,
    }),
    "stem": ("guided_diffusion", NARROW | {  # as at 512 pixels: channels of the first level below those of the waves
        "model_channels": 64, "out_channels": 6, "channel_mult": (0.5, 1), "attention_resolutions": (2,),
        "use_scale_shift_norm": True, "num_heads": 4,
    }),
    "improved": ("improved_diffusion", {"in_channels": 3, "model_channels": 32, "num_res_blocks": 2} | {
        "out_channels": 6, "channel_mult": (1, 2), "attention_resolutions": (2,), "num_heads": 4,
        "use_scale_shift_norm": True, "num_classes": 5,
    }),
    "added": ("improved_diffusion", {"in_channels": 3, "model_channels": 32, "num_res_blocks": 1} | {
        "out_channels": 3, "channel_mult": (1, 2), "attention_resolutions": (2,),
    }),
    "consistency": ("cm", ADM | {
        "out_channels": 3, "channel_mult": (1, 2), "attention_resolutions": (2,), "resblock_updown": True,
    }),
    "teacher": ("cm", NARROW | {
        "out_channels": 3, "channel_mult": (1, 2), "attention_resolutions": (1, 2), "num_head_channels": 32,
        "resblock_updown": True,
    }),
}  # fmt: skip


def made(package, arguments):
    """A network with its seeded weights."""
    model = import_module(f"{package}.unet").UNetModel(**arguments).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(torch.from_numpy(seeded(name, tuple(value.shape))))
    return model


def case(name, rng):
    package, arguments = CASES[name]
    model = made(package, arguments)
    x = rng.standard_normal((3, 3, 8, 12)).astype(np.float32)
    known = {}
    if classes := arguments.get("num_classes"):
        known["y"] = torch.arange(3) % classes
    arrays = {"label": np.arange(3) % (classes or 1)}
    with torch.no_grad():
        if package == "cm":
            told = []
            model.register_forward_pre_hook(lambda module, args: told.append(args[1].numpy().copy()))
            sigma = np.array([0.003, 0.4, 60.0], np.float32)
            x *= 1 + sigma[:, None, None, None]
            denoiser = import_module("cm.karras_diffusion").KarrasDenoiser(
                distillation=name == "consistency", loss_norm="l2"
            )
            out = denoiser.denoise(model, torch.from_numpy(x), torch.from_numpy(sigma), **known)[1].numpy()
            arrays |= {"sigma": sigma, "told": told[0]}
        else:
            told = np.array([0.0, 17.5, 803.0], np.float32)
            out = model(torch.from_numpy(x), torch.from_numpy(told), **known).numpy()
            arrays["told"] = told
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    about = {
        "package": package,
        "kwargs": {key: list(v) if isinstance(v, tuple) else v for key, v in arguments.items()},
    }
    return about | {"shapes": shapes}, arrays | {"x": x, "out": out}


if __name__ == "__main__":
    write(HERE.parent / "fixtures" / "adm.npz", CASES, case, SEED, COMMITS)
