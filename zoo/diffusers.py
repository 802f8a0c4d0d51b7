"""Pipelines of Hugging Face diffusers: a folder with a UNet2DModel, and a scheduler that says how it was trained.

The facts are those of diffusers 0.42.1: models/unets/unet_2d.py, models/unets/unet_2d_blocks.py, models/resnet.py.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path as File
from typing import Any

from fewstep.diffusion.networks import UNet2D
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.zoo.diffusers_files import (
    CONFIG,
    INDEX,
    WEIGHTS,
    all_files,
    class_of,
    licence,
    part,
    scheduler_of,
    texts,
    weights_file,
)
from fewstep.zoo.diffusers_options import options, sampled
from fewstep.zoo.diffusers_scheduler import read_scheduler, trained
from fewstep.zoo.diffusers_settings import (
    FLAG,
    NULL,
    Setting,
    either,
    listed,
    number,
    one_of,
    read_config,
    settings,
    whole,
)
from fewstep.zoo.files import read
from fewstep.zoo.found import Found
from fewstep.zoo.layout import Leaf, conv, dense, halves, joined_qkv, linear, norm, same, under
from fewstep.zoo.unet2d import BlockNames, Leaves, head

RESNET_DOWN, RESNET_UP = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"
ATTENTION_DOWN, ATTENTION_UP = "AttnDownBlock2D", "AttnUpBlock2D"
SIDE, WIDTH = whole(1, 65_536), whole(1, 65_536)
# The settings of a UNet2DModel; of some this network has one value only.
TABLE = {
    "sample_size": Setting(None, either(SIDE, listed(SIDE, 2, 2))),
    "in_channels": Setting(3, WIDTH),
    "out_channels": Setting(3, WIDTH),
    "center_input_sample": Setting(False, one_of(False)),
    "time_embedding_type": Setting("positional", one_of("positional")),
    "time_embedding_dim": Setting(None, either(NULL, WIDTH)),
    "freq_shift": Setting(0, one_of(0, 1, 0.0, 1.0)),
    "flip_sin_to_cos": Setting(True, FLAG),
    "down_block_types": Setting(
        ["DownBlock2D"] + 3 * [ATTENTION_DOWN], listed(one_of("DownBlock2D", ATTENTION_DOWN, RESNET_DOWN), 1, 16)
    ),
    "mid_block_type": Setting("UNetMidBlock2D", one_of("UNetMidBlock2D")),
    "up_block_types": Setting(
        3 * [ATTENTION_UP] + ["UpBlock2D"], listed(one_of("UpBlock2D", ATTENTION_UP, RESNET_UP), 1, 16)
    ),
    "block_out_channels": Setting([224, 448, 672, 896], listed(WIDTH, 1, 16)),
    "layers_per_block": Setting(2, whole(1, 64)),
    "mid_block_scale_factor": Setting(1, one_of(1, 1.0)),
    "downsample_padding": Setting(1, one_of(0, 1)),
    "downsample_type": Setting("conv", one_of("conv", "resnet")),
    "upsample_type": Setting("conv", one_of("conv", "resnet")),
    "dropout": Setting(0.0, either(one_of(0, 0.0), number(above=0, most=1))),
    "act_fn": Setting("silu", one_of("silu", "swish")),
    "attention_head_dim": Setting(8, either(NULL, WIDTH)),
    "norm_num_groups": Setting(32, whole(1, 1024)),
    "attn_norm_num_groups": Setting(None, either(NULL, whole(1, 1024))),
    "norm_eps": Setting(1e-5, number(above=0, most=1)),
    "resnet_time_scale_shift": Setting("default", one_of("default", "scale_shift")),
    "add_attention": Setting(True, FLAG),
    "class_embed_type": Setting(None, NULL),
    "num_class_embeds": Setting(None, either(NULL, whole(1, 1_000_000))),
}


PRESETS: dict[str, Any] = {}  # its files say what they are


def recognises(path: File) -> bool:
    """Whether it is the folder of a pipeline, or of a UNet2DModel alone."""
    return path.is_dir() and ((path / INDEX).exists() or class_of(path) == "UNet2DModel")


def find(path: File, name: str | None = None, weights: str | None = None) -> Found:
    """The model in the folder; UsageError for what our networks or processes cannot be.

    weights: the variant in the name of the file, "fp16" or "non_ema".
    """
    unet = part(path, "unet")
    if class_of(unet) != "UNet2DModel":
        raise UsageError(f"{unet / CONFIG} is of a {class_of(unet) or 'model without a name'}: a UNet2DModel opens")
    said = read_config(unet / CONFIG)
    config = settings(unet / CONFIG, said, TABLE)
    scheduler = scheduler_of(path)
    known = read_scheduler(scheduler, path)
    process, prediction, objective = trained(known, scheduler)
    size, channels, outputs = config["sample_size"], config["in_channels"], config["out_channels"]
    height, width = (size, size) if isinstance(size, int) else size
    if outputs not in (channels, 2 * channels):
        raise UsageError(f"{unet}: {outputs} channels from {channels}: as many, or twice with a variance, are opened")
    arguments = arguments_of(config, (height, width), unet / CONFIG)
    file = weights_file(unet, weights)
    arrays = read(file)
    words, differs = options(known, outputs > channels)
    return Found(
        kind=f"UNet2DModel of diffusers {said.get('_diffusers_version', '')}".strip(),
        network=partial(UNet2D, **arguments),
        process=process,
        prediction=prediction,
        shape=(height, width, channels),
        arrays=arrays,
        leaves=leaves_of(config, channels, old=not any(name.endswith(".to_q.weight") for name in arrays)),
        files=(str(unet / CONFIG), *all_files(file), str(scheduler)),
        licence=licence(path),
        classes=config["num_class_embeds"] or 0,
        variance=LearnedRange() if outputs > channels else None,
        objective=objective,
        sampled=sampled(known),
        options=words,
        differs=differs,
        texts=texts(path, unet / CONFIG, scheduler),
        weights=(unet / f"{WEIGHTS}.safetensors").relative_to(path).as_posix(),
    )


def arguments_of(config: Mapping[str, Any], shape: tuple[int, int], where: File) -> dict[str, Any]:
    """Those of the UNet2D that is the UNet2DModel of a config, for images of this height and width."""
    down, up, channels = config["down_block_types"], config["up_block_types"], tuple(config["block_out_channels"])
    attends = ["Attn" in kind for kind in down]
    if not len(down) == len(up) == len(channels):
        raise UsageError(
            f"{where} has {len(down)} down_block_types, {len(up)} up_block_types and {len(channels)} widths"
        )
    if attends != ["Attn" in kind for kind in reversed(up)]:
        raise UsageError(f"{where}: blocks {down} and {up}: an encoder and a decoder that mirror each other are opened")
    resamplings = {_resamples(kind, config["downsample_type"]) for kind in down[:-1]}
    resamplings |= {_resamples(kind, config["upsample_type"]) for kind in up[:-1]}
    if len(resamplings) > 1:
        raise UsageError(f"{where}: blocks {down} and {up} resample in two ways, and one is opened")
    groups, norms = config["norm_num_groups"], config["attn_norm_num_groups"]
    scales = config["resnet_time_scale_shift"] == "scale_shift"
    if (norms or groups) != groups or (norms is None and scales and config["add_attention"]):
        raise UsageError(f"{where}: attention has {norms} groups, and the blocks {groups}: equal ones are opened")
    size = config["attention_head_dim"]
    attending = [width for width, attention in zip(channels, attends, strict=True) if attention]
    if odd := [width for width in attending + [channels[-1]] * config["add_attention"] if size and width % size]:
        raise UsageError(f"{where}: attention of {odd[0]} channels does not divide into heads of {size}")
    return {
        "channels": channels,
        "blocks": config["layers_per_block"],
        "attention": tuple(min(shape) >> level for level, attention in enumerate(attends) if attention),
        "middle_attention": config["add_attention"],
        "head_size": size,
        "groups": groups,
        "eps": float(config["norm_eps"]),
        "modulation": "scale_shift" if scales else "add",
        "resampling": resamplings.pop() if resamplings else "conv",
        "pad_both": bool(config["downsample_padding"]),
        "embedding": config["time_embedding_dim"] or 4 * channels[0],
        "order": "cos_sin" if config["flip_sin_to_cos"] else "sin_cos",
        "shift": int(config["freq_shift"]),
        "null": False,
        "dropout": float(config["dropout"]),
    }


def _resamples(kind, attention):
    """How a block changes the size; attention: the setting that blocks with attention have for it."""
    return "block" if kind in (RESNET_DOWN, RESNET_UP) or ("Attn" in kind and attention == "resnet") else "conv"


def _attention(name: str, channels: Sequence[int], size: int | None, old: bool) -> Leaves:
    """That of diffusers since 0.16, or before, when its layers had other names; size: that of a head."""
    parts = ("query", "key", "value", "proj_attn") if old else ("to_q", "to_k", "to_v", "to_out.0")
    *rows, out = (f"{name}.{part}" for part in parts)
    side, at = name.split(".")[:2]  # "up_blocks.0"
    width = {"down_blocks": channels, "up_blocks": channels[::-1]}[side][int(at)] if "blocks" in side else channels[-1]
    join = partial(joined_qkv, heads=1 if size is None else max(1, width // size))
    found = under(("norm",), norm(f"{name}.group_norm")) | under(("mix", "out"), dense(out))
    for kind, ours in (("weight", "kernel"), ("bias", "bias")):
        found["mix", "qkv", ours] = Leaf(tuple(f"{row}.{kind}" for row in rows), join)
    return found


def leaves_of(config: Mapping[str, Any], channels: int, old: bool = False) -> Leaves:
    """Those of a UNet2DModel of images with `channels`; old: of diffusers before 0.16."""
    rows = halves if config["resnet_time_scale_shift"] == "scale_shift" else linear
    widths = config["block_out_channels"]
    attention = partial(_attention, channels=widths, size=config["attention_head_dim"], old=old)
    names = BlockNames("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut", attention, rows)
    blocks, levels = config["layers_per_block"], len(widths)
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
        for ours, name, side, at in (  # the layer between two levels is numbered by the finer one
            ("shrink", f"{down}.downsamplers.0", "down", level),
            ("grow", f"{up}.upsamplers.0", "up", level - 1),
        ):
            kind = config[f"{side}_block_types"][level if side == "down" else levels - 1 - level]
            convolves = _resamples(kind, config[f"{side}sample_type"]) == "conv"
            found |= under((ours, at), dense(f"{name}.conv", conv) if convolves else names.leaves(name))
    return found
