"""Files of openai/guided-diffusion (ADM, Dhariwal & Nichol 2021, arXiv:2105.05233), improved-diffusion (Nichol &
Dhariwal 2021, arXiv:2102.09672) and consistency_models (Song et al. 2023, arXiv:2303.01469).

They are state dicts of a UNetModel without its arguments: a preset of a published file gives what shapes cannot show.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import EPS, VE, Discrete, edm
from fewstep.diffusion.foreign import CM, Clocked, Indexed
from fewstep.diffusion.networks import UNet2D
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError, lookup
from fewstep.train.objectives import Denoising, DiscreteConsistency
from fewstep.zoo.files import chosen, read, weight_sets
from fewstep.zoo.found import Found
from fewstep.zoo.guided_presets import PRESETS, Preset
from fewstep.zoo.guided_shapes import STEM, TIME, Shapes, is_guided, shapes
from fewstep.zoo.layout import Arrays, Leaf, conv, dense, halves, linear, norm, qkv, same, under
from fewstep.zoo.unet2d import BlockNames, Leaves, head

__all__ = ["PRESETS", "find", "recognises"]


def recognises(path: File, read: Callable[[File], Any] = read) -> bool:
    """Whether it is a file with the arrays of a UNetModel."""
    return path.suffix in (".pt", ".pth", ".safetensors") and path.is_file() and bool(_sets(read(path)))


def find(path: File, name: str | None = None, weights: str | None = None, read: Callable[[File], Any] = read) -> Found:
    """The model in the file, which the preset `name` describes.

    weights: which set, in a file with several.  Raises UsageError without a preset, if the shapes in the file are not
    those of the preset, and for relatives that make no images from noise.
    """
    sets = _sets(read(path))
    taken, arrays = chosen(sets, weights, f"set of weights with a UNetModel in {path}")
    seen = shapes(arrays)
    if seen.outputs not in (seen.colours, 2 * seen.colours) or (seen.colours, seen.outputs) == (6, 6):
        raise UsageError(f"{path} makes {seen.outputs} channels from {seen.colours}, as an upsampler: it is not opened")
    if name is None:
        fit = [preset for preset, one in PRESETS.items() if one.shapes == seen]
        raise UsageError(
            f"{path} is of guided-diffusion or a relative, and does not say which: add --as NAME; of its shapes "
            f"{'are ' + ', '.join(fit) if fit else 'is none of ' + ', '.join(PRESETS)}"
        )
    preset = lookup("preset", name, PRESETS)
    if difference := seen.difference(preset.shapes):
        raise UsageError(f"{path} is not {name} ({preset.file}): its weights have {difference}")
    process, prediction, objective = _trained(preset)
    learned = seen.outputs > seen.colours
    return Found(
        kind=f"{preset.kind} of {preset.repository}, as {name}",
        network=partial(UNet2D, **arguments(preset, seen, arrays)),
        process=process,
        prediction=prediction,
        shape=(preset.size, preset.size, seen.colours),
        arrays=arrays,
        leaves=_leaves(preset, seen, arrays),
        files=(str(path),),
        licence=f"MIT, of {preset.file} of {preset.repository}",
        classes=seen.classes,
        variance=LearnedRange() if learned else None,
        objective=objective,
        sampled=_sampled(preset),
        options=_options(preset, learned),
        chosen=taken,
    )


def _sets(value: Any) -> dict[str, Mapping[str, np.ndarray]]:
    """The sets of weights that are of a UNetModel."""
    return {key: arrays for key, arrays in weight_sets(value).items() if is_guided(arrays)}


def _trained(preset: Preset) -> tuple[Any, Any, Any]:
    """The process, the prediction and what was learned."""
    if preset.schedule in ("edm", "consistency"):
        consistent = preset.schedule == "consistency"
        prediction = Clocked(CM(0.5, 0.002) if consistent else edm(0.5), of="log_noise", scale=250.0)
        return VE(0.002, 80.0), prediction, DiscreteConsistency() if consistent else Denoising()
    process = Discrete(preset.schedule, preset.steps)
    if not preset.rescaled:
        return process, Indexed(EPS), Denoising()
    return process, Clocked(EPS, scale=1000.0, offset=-1000.0 / preset.steps), Denoising()  # (N t - 1) 1000 / N


def arguments(preset: Preset, seen: Shapes, arrays: Arrays) -> dict[str, Any]:
    """Those of UNet2D."""
    return {
        "channels": seen.channels,
        "blocks": seen.blocks,
        "attention": tuple(preset.size >> level for level, attends in enumerate(seen.attends) if attends),
        "stem": arrays[STEM].shape[0],
        "heads": preset.heads,
        "head_size": preset.head_size,
        "groups": 32,
        "eps": 1e-5,
        "modulation": seen.modulation,
        "resampling": seen.resampling,
        "pad_both": True,
        "embedding": arrays[TIME].shape[0],
        "waves": seen.waves,
        "order": "cos_sin",
        "label": "after",
        "null": False,
        "dropout": preset.dropout,
    }


def _attention(name: str, arrays: Arrays, preset: Preset) -> Leaves:
    channels = arrays[f"{name}.norm.weight"].size if f"{name}.norm.weight" in arrays else 0
    heads = preset.heads if preset.head_size is None else max(1, channels // preset.head_size)
    return (
        under(("norm",), norm(f"{name}.norm"))
        | under(("mix", "qkv"), dense(f"{name}.qkv", qkv, heads=heads, order=preset.order))
        | under(("mix", "out"), dense(f"{name}.proj_out"))
    )


def _leaves(preset: Preset, seen: Shapes, arrays: Arrays) -> Leaves:
    rows = linear if seen.modulation == "add" else halves
    names = BlockNames(
        "in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection",
        partial(_attention, arrays=arrays, preset=preset), rows,
    )  # fmt: skip
    levels, each = len(seen.channels), seen.blocks + 1
    found = under(("stem",), dense("input_blocks.0.0", conv)) | under(("norm",), norm("out.0"))
    found |= head("out.2", seen.colours)
    for ours, theirs in (("first", 0), ("second", 2)):
        found |= under(("conditioning", ours), dense(f"time_embed.{theirs}"))
    found["conditioning", "label", "embedding"] = Leaf(("label_emb.weight",), same)
    for i, at in ((0, 0), (1, 2)):
        found |= under(("middle", i), names.leaves(f"middle_block.{at}", "middle_block.1" * (i == 0)))
    by_block = seen.resampling == "block"
    for level in range(levels):
        down, up = 1 + level * each, (levels - 1 - level) * each
        for part, coder, first in (("down", "input_blocks", down), ("up", "output_blocks", up)):
            for i in range(each - (part == "down")):
                name = f"{coder}.{first + i}"
                found |= under((part, level, i), names.leaves(f"{name}.0", f"{name}.1"))
        below, above = f"input_blocks.{down - 1}.0", f"output_blocks.{up + seen.blocks}.{1 + seen.attends[level]}"
        for part, name, layer in (("shrink", below, "op"), ("grow", above, "conv")):
            found |= under((part, level - 1), names.leaves(name) if by_block else dense(f"{name}.{layer}", conv))
    return found


def _sampled(preset: Preset) -> dict[str, Any]:
    """The flags of the authors' scripts."""
    levels = {"sigma_min": 0.002, "sigma_max": 80, "clip_denoised": True}
    match preset.schedule:
        case "edm":
            return {"sampler": "heun", "steps": 40, "s_churn": 0} | levels
        case "consistency":
            return {"sampler": "onestep"} | levels
    respacing = "" if preset.nfe == preset.steps else str(preset.nfe)
    return {"timestep_respacing": respacing, "use_ddim": False, "clip_denoised": True}


def _options(preset: Preset, learned: bool) -> str:
    """The words of `fewstep sample`."""
    clip = '--lever "clip_x0()"'
    match preset.schedule:
        case "edm":
            return f"--sampler edm --nfe {preset.nfe} --grid karras --set edm.churn=0 {clip}"
        case "consistency":
            return f"--sampler consistency --nfe 1 {clip}"
    variance = "range" if learned else "large"
    return f"--sampler ddpm --nfe {preset.nfe} --grid linspace --set \"ddpm.variance='{variance}'\" {clip}"
