"""A UNet2D that was trained here, in the form of a UNet2DModel of Hugging Face diffusers: the way back of
`diffusers.find`."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import VE, Discrete
from fewstep.diffusion.denoiser import INSTANT, Model, names_of
from fewstep.diffusion.discrete import SCHEDULES
from fewstep.diffusion.foreign import CM, Clocked, Indexed
from fewstep.diffusion.networks import UNet2D
from fewstep.diffusion.prediction import EDM
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.zoo.diffusers import (
    ATTENTION_DOWN,
    ATTENTION_UP,
    RESNET_DOWN,
    RESNET_UP,
    TABLE,
    arguments_of,
    leaves_of,
)
from fewstep.zoo.diffusers_files import CONFIG, INDEX, SCHEDULER, WEIGHTS
from fewstep.zoo.diffusers_scheduler import CONSISTENCY, PREDICTIONS, TABLES, trained
from fewstep.zoo.diffusers_settings import settings
from fewstep.zoo.layout import Arrays, Leaf, exported, paths, same

BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
# Of the constructor, but no fact of the weights or one that the model and the scheduler say.
FREE = ("self", "shape", "classes", "rngs", "dtype", "jumps", "guided", "variance")
DEFAULTS = {name: one.default for name, one in signature(UNet2D.__init__).parameters.items() if name not in FREE}


def pipeline(
    arguments: Mapping[str, Any], model: Model, shape: tuple[int, ...], params: Any
) -> tuple[dict[str, str], str, Arrays]:
    """The files of a pipeline: texts by name, the name of the weights, and these, from our parameters on the host.

    arguments: those of the UNet2D.  Raises UsageError for what a UNet2DModel or its schedulers cannot be.
    """
    if not isinstance(model.variance, LearnedRange | None):
        raise UsageError(f"a UNet2DModel has no second output like {model.variance}")
    arguments = DEFAULTS | dict(arguments)
    config, scheduler = _unet(arguments, model, shape), _scheduler(model)
    known = settings(File(CONFIG), config, TABLE)
    _check_same(arguments, arguments_of(known, (shape[0], shape[1]), File(CONFIG)), model.classes, shape)
    leaves = leaves_of(known, shape[-1])
    blank: dict[str, np.ndarray] = {}
    for path, value in paths(params):
        for name, size in _shapes(leaves[path], value.shape).items():
            if name not in blank or size > blank[name].shape:  # the head's rows end with those of the variance
                blank[name] = np.zeros(size, np.float32)
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler["_class_name"]]}
    # DDPMPipeline knows neither labels nor the scales of a scheduler's inputs; this one does, with any scheduler.
    plain = isinstance(model.process, Discrete) and not model.classes
    kind = "DDPMPipeline" if plain else "ConsistencyModelPipeline"
    files = {INDEX: {"_class_name": kind} | parts, f"unet/{CONFIG}": config, f"scheduler/{SCHEDULER}": scheduler}
    texts = {name: json.dumps(said, indent=2) + "\n" for name, said in files.items()}
    return texts, f"unet/{WEIGHTS}.safetensors", exported(leaves, params, blank)


def _unet(arguments, model, shape):
    """The config of the UNet2DModel."""
    height, width, channels = shape
    widths, block = arguments["channels"], arguments["resampling"] == "block"
    attends = [min(height, width) >> level in arguments["attention"] for level in range(len(widths))]
    down, up = (RESNET_DOWN, RESNET_UP) if block else ("DownBlock2D", "UpBlock2D")
    scales = arguments["modulation"] == "scale_shift"
    return {
        "_class_name": "UNet2DModel",
        "sample_size": height if height == width else [height, width],
        "in_channels": channels,
        "out_channels": channels * (2 if model.variance else 1),
        "down_block_types": [ATTENTION_DOWN if one else down for one in attends],
        "up_block_types": [ATTENTION_UP if one else up for one in reversed(attends)],
        "downsample_type": "resnet" if block else "conv",
        "upsample_type": "resnet" if block else "conv",
        "block_out_channels": list(widths),
        "layers_per_block": arguments["blocks"],
        "add_attention": arguments["middle_attention"],
        "attention_head_dim": arguments["head_size"],
        "norm_num_groups": arguments["groups"],
        "attn_norm_num_groups": arguments["groups"] if scales else None,
        "norm_eps": arguments["eps"],
        "resnet_time_scale_shift": "scale_shift" if scales else "default",
        "downsample_padding": int(arguments["pad_both"]),
        "time_embedding_dim": arguments["embedding"],
        "flip_sin_to_cos": arguments["order"] == "cos_sin",
        "freq_shift": arguments["shift"],
        "dropout": arguments["dropout"],
        "num_class_embeds": model.classes or None,
    }


def _check_same(arguments, found, classes, shape):
    """UsageError for an argument that a UNet2DModel has another value of."""
    if odd := [width for width in arguments["channels"] if width % arguments["groups"]]:
        raise UsageError(
            f"UNet2D.groups = {arguments['groups']} does not divide {odd[0]} channels, as it must in a UNet2DModel"
        )
    ours, theirs = (_plain(given, classes, shape) for given in (arguments, arguments | DEFAULTS | found))
    for name in DEFAULTS:
        if ours[name] != theirs[name]:
            raise UsageError(f"a UNet2DModel has UNet2D.{name} = {theirs[name]!r}, and this network {ours[name]!r}")


def _plain(arguments, classes, shape):
    """With numbers in place of defaults that depend on others, and without values that have no effect."""
    stem = arguments["stem"] or arguments["channels"][0]
    sides = [min(shape[:2]) >> level for level in range(len(arguments["channels"]))]
    return arguments | {
        "channels": tuple(arguments["channels"]),
        "stem": stem,
        "embedding": arguments["embedding"] or 4 * stem,
        "waves": arguments["waves"] or stem,
        "attention": [side for side in sides if side in arguments["attention"]],
        "heads": None if arguments["head_size"] else arguments["heads"],
        "filter": arguments["filter"] if arguments["resampling"] == "block" else None,
        "label": arguments["label"] if classes else None,
        "null": bool(classes) and arguments["null"],
    }


def _scheduler(model):
    """The config of a scheduler that says how the model was trained."""
    process, prediction = model.process, model.prediction
    if model.guided:
        raise UsageError("a UNet2DModel has no guidance as an input")
    if model.calls and INSTANT in model.capabilities:
        raise UsageError(f"no scheduler of diffusers draws in the {model.calls} calls that this model was trained for")
    said: dict[str, Any] = {}
    if isinstance(process, Discrete) and isinstance(prediction, Indexed):
        said = _ddpm(process, prediction, model.variance)
    elif isinstance(process, VE):
        form = prediction.prediction if isinstance(prediction, Clocked) else prediction
        said |= {"_class_name": CONSISTENCY if isinstance(form, CM) else "EDMEulerScheduler"}
        said |= {"sigma_min": process.sigma_min, "sigma_max": process.sigma_max}
        said |= {"sigma_data": form.sigma_data} if isinstance(form, EDM) else {}
    if said:
        known = settings(File(SCHEDULER), said, TABLES[said["_class_name"]]) | {"scheduler": said["_class_name"]}
        *found, objective = trained(known, File(SCHEDULER))
        if objective.capabilities != model.capabilities:
            learned, others = names_of(model.capabilities), names_of(objective.capabilities)
            raise UsageError(
                f"this model learned {learned}, and one of its process and prediction in diffusers {others}"
            )
        if found[1] == prediction and _same(found[0], process):
            return said
    raise UsageError(
        f"a model of {type(process).__name__} with this prediction is not written for diffusers: with @Discrete() and "
        f"@Indexed(), or @VE() and @EDM(), it is"
    )


def _same(one, other):
    """Whether two processes are equal, however their levels are given."""
    if not (isinstance(one, Discrete) and isinstance(other, Discrete) and one.count == other.count):
        return one == other
    times = np.arange(1, one.count + 1) / one.count
    return np.allclose(one.alpha(times), other.alpha(times), rtol=1e-9, atol=0)


def _ddpm(process, prediction, variance):
    """The config of a scheduler of Discrete; {} for another prediction than diffusers knows."""
    kind = next((name for name, one in PREDICTIONS.items() if one == prediction.prediction), None)
    if kind is None:
        return {}
    if isinstance(process.betas, str):
        betas, schedule = SCHEDULES[process.betas](process.count), {"beta_schedule": BETAS[process.betas]}
    else:
        betas, schedule = process.betas, {"trained_betas": list(process.betas)}
    said = {"_class_name": "DDPMScheduler", "num_train_timesteps": len(betas), "prediction_type": kind} | schedule
    said |= {"beta_start": float(betas[0]), "beta_end": float(betas[-1]), "rescale_betas_zero_snr": process.zero_snr}
    return said | ({"variance_type": "learned_range"} if variance else {})


def _shapes(leaf: Leaf, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of the foreign arrays that one of ours, of this shape, is made of."""
    layout: Callable[..., Any] = leaf.layout.func if isinstance(leaf.layout, partial) else leaf.layout
    first = leaf.layout.keywords.get("first", 0) if isinstance(leaf.layout, partial) else 0
    rows = first + shape[-1] // len(leaf.names)
    if len(shape) == 1:
        theirs = (rows,)
    elif layout is same:
        theirs = shape
    else:
        theirs = (rows, *shape[-2:-1], *shape[:-2])  # (k, k, in, out) -> (out, in, k, k), (in, out) -> (out, in)
    pixel = (1, 1) if leaf.names[0].endswith("conv_shortcut.weight") else ()
    return dict.fromkeys(leaf.names, theirs + pixel)
