"""DiT in the form of Hugging Face diffusers: a pipeline whose `transformer` is a DiTTransformer2DModel.

The facts are those of diffusers 0.42.1: models/transformers/dit_transformer_2d.py, models/embeddings.py,
models/normalization.py.  In older folders the class is Transformer2DModel, with norm_type "ada_norm_zero".

Every block has a copy of the layers of the time and of the table of classes.  diffusers computes other features of the
time (freq_shift 1) and adds 1e-5 in the second norm of a block; the weights, which are the authors' converted, were
trained with 0 and 1e-6, and these are used.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path as File
from typing import Any

from fewstep.diffusion.networks import DiT
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.train.utils.files import JSON, read_text
from fewstep.zoo.diffusers import (
    INDEX,
    SAMPLED,
    WEIGHTS,
    class_of,
    licence,
    options_of,
    read_config,
    trained,
    weights_file,
)
from fewstep.zoo.files import read
from fewstep.zoo.found import Found
from fewstep.zoo.transformer import LATENTS, PUBLISHED, BlockNames, Leaves, Names, tokens_of_a_side

PRESETS: dict[str, Any] = {}  # its files say what they are
CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")
BLOCK, POSITIONS = "transformer_blocks", "pos_embed.pos_embed"
KEYS = ("num_layers", "num_attention_heads", "patch_size", "sample_size", "in_channels")
# Settings that DiT has only at these values.
FIXED = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "upcast_attention": False,
}


def _embedding(i):
    return f"{BLOCK}.{i}.norm1.emb"


def _block(i):
    at = f"{BLOCK}.{i}"
    queries = (f"{at}.attn1.to_q", f"{at}.attn1.to_k", f"{at}.attn1.to_v")
    return BlockNames(queries, f"{at}.attn1.to_out.0", f"{at}.ff.net.0.proj", f"{at}.ff.net.2", f"{at}.norm1.linear")


NAMES = Names(
    stem="pos_embed.proj",
    time=(f"{_embedding(0)}.timestep_embedder.linear_1", f"{_embedding(0)}.timestep_embedder.linear_2"),
    table=f"{_embedding(0)}.class_embedder.embedding_table.weight",
    block=_block,
    modulation="proj_out_1",
    head="proj_out_2",
)


def recognises(path: File) -> bool:
    """Whether it is the folder of a pipeline with a DiT."""
    return (path / INDEX).is_file() and class_of(path / "transformer") in CLASSES


def find(path: File, name: str | None = None, weights: str | None = None) -> Found:
    """The model in the folder, which has one set of weights; UsageError for another transformer than DiT's."""
    folder = path / "transformer"
    config = read_config(folder / "config.json")
    for key, only in FIXED.items():
        if config.get(key, only) != only:
            raise UsageError(f"{folder}: {key} is {config[key]!r}, and DiT has only {only!r}")
    scheduler = path / "scheduler" / "scheduler_config.json"
    if not scheduler.exists():
        raise UsageError(f"{path} has no scheduler/{scheduler.name}, which says how the model was trained: add it")
    known = read_config(scheduler)
    process, prediction, objective = trained(known, scheduler)
    file = weights_file(folder)
    arrays, texts = read(file), (path / INDEX, folder / "config.json", scheduler)
    try:
        depth, heads, patch, side, channels = (int(config[key]) for key in KEYS)
        width = heads * int(config["attention_head_dim"])
        outputs = int(config.get("out_channels") or channels)
        ratio = arrays[f"{BLOCK}.0.ff.net.0.proj.weight"].shape[0] // width
        classes = arrays[NAMES.table].shape[0] - 1
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise UsageError(f"{folder} is damaged: it is not of a DiT ({error!r})") from None
    if outputs not in (channels, 2 * channels):
        raise UsageError(f"{folder}: {outputs} channels from {channels}: as many, or twice with a variance, are opened")
    if POSITIONS in arrays:
        tokens_of_a_side(arrays[POSITIONS], folder)
    return Found(
        kind=f"DiT of diffusers {config.get('_diffusers_version', '')}".strip(),
        network=partial(DiT, patch=patch, width=width, depth=depth, heads=heads, ratio=ratio, **PUBLISHED),
        process=process,
        prediction=prediction,
        shape=(side, side, channels),
        arrays=arrays,
        leaves=_shared(NAMES.leaves(depth, heads, channels, outputs), depth),
        files=tuple(map(str, (folder / "config.json", file, scheduler))),
        licence=licence(path),
        classes=classes,
        variance=LearnedRange() if outputs > channels else None,
        objective=objective,
        sampled=_sampled(known),
        options=f'{options_of(known)} --lever "cfg(4.0)"',
        unused=(POSITIONS,),  # computed, and equal
        texts={str(text.relative_to(path)): read_text(text, JSON) for text in texts},
        weights=str((folder / f"{WEIGHTS}.safetensors").relative_to(path)),
    )


def _sampled(known: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: known[key] for key in SAMPLED if key in known}
    return found | {"scheduler": known["_class_name"], "guidance_scale": 4.0} | LATENTS


def _shared(leaves: Leaves, depth: int) -> Leaves:
    """With the copies that all other blocks have of the arrays of the first one."""
    first = _embedding(0)

    def copied(leaf):
        (name,) = leaf.names
        return replace(leaf, copies=tuple(name.replace(first, _embedding(i)) for i in range(1, depth)))

    return {path: copied(leaf) if path[0] == "conditioning" else leaf for path, leaf in leaves.items()}
