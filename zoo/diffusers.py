"""Pipelines of Hugging Face diffusers: a folder with a UNet2DModel, and a scheduler that says how it was trained.

The facts are those of diffusers 0.42.1: models/unets/unet_2d.py, models/resnet.py, schedulers/*.py.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import EPS, VE, X0, Discrete, V, edm
from fewstep.diffusion.discrete import SCHEDULES
from fewstep.diffusion.foreign import CM, Clocked, Indexed
from fewstep.diffusion.networks import UNet2D
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.train.objectives import Denoising, DiscreteConsistency, Objective
from fewstep.train.utils.files import JSON, loads, read_text
from fewstep.zoo.files import read
from fewstep.zoo.found import Found
from fewstep.zoo.layout import Arrays, Leaf, conv, dense, halves, joined_qkv, linear, norm, same, under
from fewstep.zoo.unet2d import BlockNames, Leaves, head

INDEX, WEIGHTS = "model_index.json", "diffusion_pytorch_model"
DOWN, UP = ("DownBlock2D", "AttnDownBlock2D"), ("UpBlock2D", "AttnUpBlock2D")
RESNET_DOWN, RESNET_UP = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"
# Of a UNet2DModel: settings that this network has only at these values.
FIXED = {
    "act_fn": ("silu", "swish"),
    "center_input_sample": (False,),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2D",),
    "time_embedding_type": ("positional",),
    "class_embed_type": (None,),
    "add_attention": (True, False),
    "resnet_time_scale_shift": ("default", "scale_shift"),
}
DDPM = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")


PRESETS: dict[str, Any] = {}  # its files say what they are


def recognises(path: File) -> bool:
    """Whether it is the folder of a pipeline, or of a UNet2DModel alone."""
    return path.is_dir() and ((path / INDEX).exists() or class_of(path) == "UNet2DModel")


def find(path: File, name: str | None = None, weights: str | None = None) -> Found:
    """The model in the folder; UsageError for what our networks or processes cannot be."""
    unet = path / "unet" if (path / INDEX).exists() else path
    if class_of(unet) != "UNet2DModel":
        raise UsageError(
            f"{unet / 'config.json'} is of a {class_of(unet) or 'model without a name'}: a UNet2DModel opens"
        )
    config = read_config(unet / "config.json")
    scheduler = path / "scheduler" / "scheduler_config.json"
    if not scheduler.exists():
        raise UsageError(f"{path} has no scheduler/{scheduler.name}, which says how the model was trained: add it")
    known = read_config(scheduler)
    process, prediction, objective = trained(known, scheduler)
    size, channels = config["sample_size"], int(config["in_channels"])
    height, width = (size, size) if isinstance(size, int) else size
    outputs = int(config["out_channels"])
    if outputs not in (channels, 2 * channels):
        raise UsageError(f"{unet}: {outputs} channels from {channels}: as many, or twice with a variance, are opened")
    file = weights_file(unet)
    arrays = read(file)
    return Found(
        kind=f"UNet2DModel of diffusers {config.get('_diffusers_version', '')}".strip(),
        network=partial(UNet2D, **_arguments(config, (height, width), unet)),
        process=process,
        prediction=prediction,
        shape=(height, width, channels),
        arrays=arrays,
        leaves=_leaves(config, arrays, channels),
        files=tuple(map(str, (unet / "config.json", file, scheduler))),
        licence=licence(path),
        classes=int(config.get("num_class_embeds") or 0),
        variance=LearnedRange() if outputs > channels else None,
        objective=objective,
        sampled={key: known[key] for key in SAMPLED if key in known} | {"scheduler": known["_class_name"]},
        options=options_of(known),
        texts={str(file.relative_to(path)): read_text(file, JSON) for file in _texts(path, unet, scheduler)},
        weights=str((unet / f"{WEIGHTS}.safetensors").relative_to(path)),
    )


def _texts(path, unet, scheduler):
    return [file for file in (path / INDEX, unet / "config.json", scheduler) if file.exists()]


def read_config(path: File) -> dict[str, Any]:
    """A file of JSON; UsageError for a damaged one."""
    try:
        return dict(loads(read_text(path, JSON)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error})") from None


def class_of(folder: File) -> str | None:
    """The class that the config of a model names; None: there is none."""
    path = folder / "config.json"
    return read_config(path).get("_class_name") if path.exists() else None


def weights_file(folder: File) -> File:
    """The file of the weights: safetensors before a pickle, whole before sharded, full precision before half."""
    for name in ("safetensors", "safetensors.index.json", "bin", "bin.index.json", "fp16.safetensors"):
        if (path := folder / f"{WEIGHTS}.{name}").exists():
            return path
    raise UsageError(f"{folder} has no weights: {WEIGHTS}.safetensors or .bin")


def licence(path: File) -> str:
    """The licence that the model card names."""
    card = path / "README.md"
    lines = read_text(card).splitlines()[:60] if card.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "unknown")


def _arguments(config: Mapping[str, Any], shape: tuple[int, int], where: File) -> dict[str, Any]:
    """Those of UNet2D."""
    for name, values in FIXED.items():
        if config.get(name, values[0]) not in values:
            raise UsageError(
                f"{where}: {name} is {config[name]!r}, and UNet2D has only {' or '.join(map(repr, values))}"
            )
    down, up = config["down_block_types"], config["up_block_types"]
    attends = ["Attn" in kind for kind in down]
    blocks = (
        config["resnet_time_scale_shift"],
        config.get("downsample_type", "conv"),
        config.get("upsample_type", "conv"),
    )
    by_block = [kind in (RESNET_DOWN, RESNET_UP) for kind in (*down, *up)]
    known = all(kind in (*DOWN, RESNET_DOWN) for kind in down) and all(kind in (*UP, RESNET_UP) for kind in up)
    if not known or attends != ["Attn" in kind for kind in reversed(up)]:
        raise UsageError(f"{where}: blocks {down} and {up}: an encoder and a decoder that mirror each other are opened")
    resampling = "block" if blocks[1] == "resnet" or any(by_block) else "conv"
    groups, norms = config.get("norm_num_groups", 32), config.get("attn_norm_num_groups")
    if (norms or groups) != groups or (
        norms is None and blocks[0] == "scale_shift" and config.get("add_attention", True)
    ):
        raise UsageError(f"{where}: attention has {norms} groups, and the blocks {groups}: equal ones are opened")
    channels = tuple(config["block_out_channels"])
    side = min(shape)
    return {
        "channels": channels,
        "blocks": config["layers_per_block"],
        "attention": tuple(side >> level for level, attention in enumerate(attends) if attention),
        "middle_attention": config.get("add_attention", True),
        "head_size": config.get("attention_head_dim"),
        "groups": groups,
        "eps": config["norm_eps"],
        "modulation": "add" if blocks[0] == "default" else "scale_shift",
        "resampling": resampling,
        "pad_both": bool(config.get("downsample_padding", 1)),
        "embedding": config.get("time_embedding_dim") or 4 * channels[0],
        "order": "cos_sin" if config.get("flip_sin_to_cos", True) else "sin_cos",
        "shift": int(config.get("freq_shift", 0)),
        "null": False,
        "dropout": float(config.get("dropout", 0.0)),
    }


def _attention(name: str, arrays: Arrays, heads: int | None) -> Leaves:
    """That of diffusers since 0.16, or before, when its layers had other names."""
    new = f"{name}.to_q.weight" in arrays
    parts = ("to_q", "to_k", "to_v", "to_out.0") if new else ("query", "key", "value", "proj_attn")
    *rows, out = (f"{name}.{part}" for part in parts)
    shape = arrays[f"{rows[0]}.weight"].shape if f"{rows[0]}.weight" in arrays else (1,)
    join = partial(joined_qkv, heads=1 if heads is None else max(1, shape[0] // heads))
    found = under(("norm",), norm(f"{name}.group_norm")) | under(("mix", "out"), dense(out))
    for kind, ours in (("weight", "kernel"), ("bias", "bias")):
        found["mix", "qkv", ours] = Leaf(tuple(f"{row}.{kind}" for row in rows), join)
    return found


def _leaves(config: Mapping[str, Any], arrays: Arrays, channels: int) -> Leaves:
    rows = halves if config["resnet_time_scale_shift"] == "scale_shift" else linear
    attention = partial(_attention, arrays=arrays, heads=config.get("attention_head_dim"))
    names = BlockNames("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut", attention, rows)
    blocks, levels = config["layers_per_block"], len(config["block_out_channels"])
    found = under(("stem",), dense("conv_in", conv)) | under(("norm",), norm("conv_norm_out"))
    found |= head("conv_out", channels)
    for ours, theirs in (("first", "linear_1"), ("second", "linear_2")):
        found |= under(("conditioning", ours), dense(f"time_embedding.{theirs}"))
    found["conditioning", "label", "embedding"] = Leaf(("class_embedding.weight",), same)
    for i in range(2):
        found |= under(("middle", i), names.leaves(f"mid_block.resnets.{i}", "mid_block.attentions.0" * (i == 0)))
    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        for i in range(blocks + 1):
            if i < blocks:
                found |= under(("down", level, i), names.leaves(f"{down}.resnets.{i}", f"{down}.attentions.{i}"))
            found |= under(("up", level, i), names.leaves(f"{up}.resnets.{i}", f"{up}.attentions.{i}"))
        for ours, name in (("shrink", f"{down}.downsamplers.0"), ("grow", f"{up}.upsamplers.0")):
            at = level if ours == "shrink" else level - 1  # the layer between this level and the next one
            convolves = f"{name}.conv.weight" in arrays
            found |= under((ours, at), dense(f"{name}.conv", conv) if convolves else names.leaves(name))
    return found


def trained(known: Mapping[str, Any], path: File) -> tuple[Any, Any, Objective]:
    """The process, the prediction and what was learned, as the scheduler says."""
    name = known.get("_class_name", "")
    if name in DDPM:
        return Discrete(*_betas(known)), Indexed(_prediction(known, path)), Denoising()
    if name in EDM and known.get("prediction_type", "epsilon") == "epsilon":
        process = VE(known.get("sigma_min", 0.002), known.get("sigma_max", 80.0))
        return process, edm(known.get("sigma_data", 0.5)), Denoising()
    if name == "CMStochasticIterativeScheduler":
        process = VE(known.get("sigma_min", 0.002), known.get("sigma_max", 80.0))
        form = CM(known.get("sigma_data", 0.5), process.sigma_min)
        return process, Clocked(form, of="log_noise", scale=250.0), DiscreteConsistency()
    raise UsageError(f"{path} is of a {name}: {', '.join((*DDPM, *EDM))} and CMStochasticIterativeScheduler are opened")


def _betas(known):
    """The arguments of Discrete."""
    steps, kind = known["num_train_timesteps"], known.get("beta_schedule", "linear")
    first, last = known.get("beta_start", 1e-4), known.get("beta_end", 0.02)
    zero_snr = bool(known.get("rescale_betas_zero_snr", False))
    if known.get("trained_betas"):
        betas = np.asarray(known["trained_betas"], np.float64)
    elif kind == "squaredcos_cap_v2":
        return "cosine", steps, zero_snr
    elif kind == "linear":
        betas = np.linspace(first, last, steps)
    elif kind == "scaled_linear":
        betas = np.linspace(first**0.5, last**0.5, steps) ** 2
    else:
        raise UsageError(f"the scheduler has betas {kind!r}: linear, scaled_linear and squaredcos_cap_v2 are opened")
    if kind in SCHEDULES and np.allclose(betas, SCHEDULES[kind](steps), rtol=1e-9, atol=0):
        return kind, steps, zero_snr
    return tuple(betas.tolist()), None, zero_snr


def _prediction(known, path):
    kinds = {"epsilon": EPS, "sample": X0, "v_prediction": V}
    kind = known.get("prediction_type", "epsilon")
    if kind not in kinds:
        raise UsageError(f"{path}: prediction_type is {kind!r}: {', '.join(kinds)} are opened")
    return kinds[kind]


def options_of(known: Mapping[str, Any]) -> str:
    """The words of `fewstep sample` that do what the pipeline does."""
    name = known["_class_name"]
    if name == "CMStochasticIterativeScheduler":
        return "--sampler consistency --nfe 1"
    if name in EDM:
        return f"--sampler {'euler' if name == EDM[0] else 'dpmpp_2m'} --nfe 50 --grid karras"
    grid = known.get("timestep_spacing", "leading")
    words = [f"--grid {grid}"]
    if name == "DDPMScheduler":
        words = ["--sampler ddpm --nfe 1000", *words]
        if known.get("variance_type", "fixed_small").startswith("fixed_large"):
            words.append("--set \"ddpm.variance='large'\"")
    else:
        words = ["--sampler ddim --nfe 50", *words]
    if offset := known.get("steps_offset", 0):
        words += [f"--set leading.offset={offset}"] * (grid == "leading")
    if known.get("clip_sample"):
        bound = known.get("clip_sample_range", 1.0)
        ends = "" if bound == 1 else f"{-bound}, {bound}"
        keeps = "" if name == "DDPMScheduler" else "rebuild=False"  # DDIM keeps eps
        words.append(f'--lever "clip_x0({", ".join(filter(None, (ends, keeps)))})"')
    return " ".join(words)


SAMPLED = (
    "timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range", "thresholding", "variance_type",
    "prediction_type", "set_alpha_to_one", "sigma_min", "sigma_max", "rho",
)  # fmt: skip
