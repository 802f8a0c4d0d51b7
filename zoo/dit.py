"""DiT (Peebles & Xie 2022, arXiv:2212.09748) and SiT (Ma et al. 2024, arXiv:2401.08740): the authors' .pt files.

The facts are those of facebookresearch/DiT at ed81ce2 (models.py, sample_ddp.py) and of willisma/SiT at 947f95b
(models.py, transport/transport.py).  Both networks have the same arrays, and no shape shows the number of heads: a
preset says which it is, or the arguments that their train.py saves.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import EPS, VELOCITY, Clocked, Discrete, Linear
from fewstep.diffusion.foreign import Indexed
from fewstep.diffusion.networks import DiT
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.zoo.files import Namespace, chosen, read, weight_sets
from fewstep.zoo.found import Found
from fewstep.zoo.transformer import (
    LATENTS,
    PUBLISHED,
    BlockNames,
    Names,
    Size,
    checked_size,
    depth,
    has_axes,
    tokens_of_a_side,
)

SIZES = {"XL": (1152, 28, 16), "L": (1024, 24, 16), "B": (768, 12, 12), "S": (384, 12, 6)}
PRESETS = {
    f"{kind}-{size}/{patch}": Size(*numbers, patch)
    for kind in ("DiT", "SiT")
    for size, numbers in SIZES.items()
    for patch in (2, 4, 8)
}
STEM, LAST, LABELS, WIDE, POSITIONS = (
    "x_embedder.proj.weight", "final_layer.linear.weight", "y_embedder.embedding_table.weight",
    "blocks.0.mlp.fc1.weight", "pos_embed",
)  # fmt: skip
AXES = {STEM: 4, LAST: 2, LABELS: 2, WIDE: 2, POSITIONS: 3}


def _block(i):
    at = f"blocks.{i}"
    return BlockNames(f"{at}.attn.qkv", f"{at}.attn.proj", f"{at}.mlp.fc1", f"{at}.mlp.fc2", f"{at}.adaLN_modulation.1")


NAMES = Names(
    stem="x_embedder.proj",
    time=("t_embedder.mlp.0", "t_embedder.mlp.2"),
    table=LABELS,
    block=_block,
    modulation="final_layer.adaLN_modulation.1",
    head="final_layer.linear",
)
# The FIDs of the papers are of guidance by 1.5, of the first three of the four channels, with the variance of the
# conditional network; our guidance is of all channels and has no variance.
SAMPLED = {
    "DiT": {"sampler": "DDPM, learned variance", "steps": 250, "clip_denoised": False},
    "SiT": {"sampler": "dopri5", "atol": 1e-6, "rtol": 1e-3},
}
OPTIONS = {
    "DiT": "--sampler ddpm --nfe 250 --grid linspace",
    "SiT": '--sampler heun --nfe 249 --lever "cfg(1.5)"',
}
DIFFERS = {
    "DiT": "guidance (none here; the FIDs of the paper are of cfg_scale 1.5, of the first 3 of 4 channels)",
    "SiT": "dopri5, in whose place is Heun's method; guidance of the first 3 of 4 channels; the SDE of the best FID",
}
SOURCES = {"DiT": "facebookresearch/DiT", "SiT": "willisma/SiT"}
LICENCES = {"DiT": "CC BY-NC 4.0", "SiT": "MIT"}


def recognises(path: File, read: Callable[[File], Any] = read) -> bool:
    """Whether it is a file with the arrays of a DiT, in any of its sets."""
    return path.suffix in (".pt", ".pth", ".safetensors") and path.is_file() and bool(_sets(read(path)))


def find(path: File, name: str | None = None, weights: str | None = None, read: Callable[[File], Any] = read) -> Found:
    """The model in the file, which the preset `name` describes; weights: which set, by default the average.

    Raises UsageError if nothing says which model it is, and for another one than the shapes are of.
    """
    value = read(path)
    sets = _sets(value)
    taken, arrays = chosen(sets, weights, f"set of weights of a DiT in {path}")
    trained = _trained(value, path)
    name = name or trained
    width, channels, patch, _ = arrays[STEM].shape
    size = checked_size(path, "a DiT or SiT", name, PRESETS, width, depth(arrays, "blocks."), patch)
    outputs = arrays[LAST].shape[0] // patch**2
    if outputs not in (channels, 2 * channels):
        raise UsageError(f"{path} makes {outputs} channels from {channels}: as many, or twice as many, are opened")
    kind = str(name).partition("-")[0]
    learned = kind == "DiT" and outputs == 2 * channels
    side = size.patch * tokens_of_a_side(arrays[POSITIONS], path)
    ratio = arrays[WIDE].shape[0] // size.width
    options = OPTIONS[kind] + learned * " --set \"ddpm.variance='range'\""
    return Found(
        kind=f"{name} of {SOURCES[kind]}",
        network=partial(DiT, **size._asdict(), ratio=ratio, **PUBLISHED),
        process=Discrete("linear", 1000) if kind == "DiT" else Linear(),
        prediction=Indexed(EPS) if kind == "DiT" else Clocked(VELOCITY, scale=-1.0, offset=1.0, negated=True),
        shape=(side, side, channels),
        arrays=arrays,
        leaves=NAMES.leaves(size.depth, size.heads, channels, outputs),
        files=(str(path),),
        licence=f"{LICENCES[kind]}, of the published weights",
        classes=arrays[LABELS].shape[0] - 1,
        variance=LearnedRange() if learned else None,
        sampled=SAMPLED[kind] | {"cfg_scale": 1.5, "cfg_channels": 3} | LATENTS,
        options=options,
        differs=DIFFERS[kind],
        unused=(POSITIONS,),  # computed, and equal
        chosen=taken,
    )


def _sets(value: Any) -> dict[str, Mapping[str, np.ndarray]]:
    """The sets of weights that are of a DiT."""
    return {key: arrays for key, arrays in weight_sets(value).items() if has_axes(arrays, AXES)}


def _trained(value: Any, path: File) -> str | None:
    """The preset that the saved arguments of train.py name."""
    args = value.get("args") if isinstance(value, dict) else None
    known = args.values if isinstance(args, Namespace) else {}
    for key, only in (("path_type", "Linear"), ("prediction", "velocity")):  # of SiT
        if known.get(key, only) != only:
            raise UsageError(f"{path} was trained with {key} {known[key]!r}: {only!r} is opened")
    return known.get("model") if known.get("model") in PRESETS else None
