"""DiT in the form of Hugging Face diffusers: a pipeline whose `transformer` is a DiTTransformer2DModel.

The facts are those of diffusers 0.42.1: models/transformers/dit_transformer_2d.py, models/embeddings.py,
models/normalization.py.  In older folders the class is Transformer2DModel, with norm_type "ada_norm_zero".

Every block has a copy of the layers of the time and of the table of classes.  diffusers computes other features of the
time (freq_shift 1) and adds 1e-5 in the second norm of a block; the weights, which are the authors' converted, were
trained with 0 and 1e-6, and these are used.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path as File
from typing import Any

from fewstep.diffusion.networks import DiT
from fewstep.diffusion.variance import LearnedRange
from fewstep.errors import UsageError
from fewstep.train.utils.errors import Damaged
from fewstep.zoo.diffusers_files import (
    CONFIG,
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
from fewstep.zoo.diffusers_settings import FLAG, NULL, Setting, either, one_of, read_config, settings, whole
from fewstep.zoo.files import read
from fewstep.zoo.found import Found
from fewstep.zoo.transformer import LATENTS, PUBLISHED, BlockNames, Leaves, Names, tokens_of_a_side

PRESETS: dict[str, Any] = {}  # its files say what they are
CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")
BLOCK, POSITIONS = "transformer_blocks", "pos_embed.pos_embed"
WIDTH = whole(1, 65_536)
# The settings of a DiT, with the defaults of DiTTransformer2DModel; of some DiT has one value only.  sample_size and
# in_channels, which that class and Transformer2DModel have other defaults for, must be said.
TABLE = {
    "num_layers": Setting(28, whole(1, 1000)),
    "num_attention_heads": Setting(16, whole(1, 1024)),
    "attention_head_dim": Setting(72, WIDTH),
    "patch_size": Setting(2, whole(1, 1024)),
    "sample_size": Setting(None, WIDTH),
    "in_channels": Setting(None, WIDTH),
    "out_channels": Setting(None, either(NULL, WIDTH)),
    "activation_fn": Setting("gelu-approximate", one_of("gelu-approximate")),
    "attention_bias": Setting(True, one_of(True)),
    "norm_type": Setting("ada_norm_zero", one_of("ada_norm_zero")),
    "norm_elementwise_affine": Setting(False, one_of(False)),
    "upcast_attention": Setting(False, FLAG),
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
    """Whether it is the folder of a pipeline with a DiT, or of the transformer alone."""
    return path.is_dir() and class_of(part(path, "transformer")) in CLASSES


def find(path: File, name: str | None = None, weights: str | None = None) -> Found:
    """The model in the folder; UsageError for another transformer than DiT's.

    weights: the variant in the name of the file, "fp16".
    """
    folder = part(path, "transformer")
    said = read_config(folder / CONFIG)
    config = settings(folder / CONFIG, said, TABLE)
    scheduler = scheduler_of(path)
    known = read_scheduler(scheduler, path)
    process, prediction, objective = trained(known, scheduler)
    file = weights_file(folder, weights)
    arrays = read(file)
    depth, heads, patch = (config[key] for key in ("num_layers", "num_attention_heads", "patch_size"))
    side, channels, width = config["sample_size"], config["in_channels"], heads * config["attention_head_dim"]
    outputs = config["out_channels"] or channels
    try:
        ratio = arrays[f"{BLOCK}.0.ff.net.0.proj.weight"].shape[0] // width
        classes = arrays[NAMES.table].shape[0] - 1
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise Damaged(file, f"is not of a DiT (it has no array {error})") from None
    if outputs not in (channels, 2 * channels):
        raise UsageError(f"{folder}: {outputs} channels from {channels}: as many, or twice with a variance, are opened")
    if POSITIONS in arrays:
        tokens_of_a_side(arrays[POSITIONS], folder)
    words, differs = options(known, False)  # the pipeline guides, and leaves the variance out
    return Found(
        kind=f"DiT of diffusers {said.get('_diffusers_version', '')}".strip(),
        network=partial(DiT, patch=patch, width=width, depth=depth, heads=heads, ratio=ratio, **PUBLISHED),
        process=process,
        prediction=prediction,
        shape=(side, side, channels),
        arrays=arrays,
        leaves=_shared(NAMES.leaves(depth, heads, channels, outputs), depth),
        files=(str(folder / CONFIG), *all_files(file), str(scheduler)),
        licence=licence(path),
        classes=classes,
        variance=LearnedRange() if outputs > channels else None,
        objective=objective,
        sampled=sampled(known) | {"guidance_scale": 4.0} | LATENTS,
        options=f'{words} --lever "cfg(4.0)"',
        differs=differs,
        unused=(POSITIONS,),  # computed, and equal
        texts=texts(path, folder / CONFIG, scheduler),
        weights=(folder / f"{WEIGHTS}.safetensors").relative_to(path).as_posix(),
    )


def _shared(leaves: Leaves, depth: int) -> Leaves:
    """With the copies that all other blocks have of the arrays of the first one."""
    first = _embedding(0)

    def copied(leaf):
        (name,) = leaf.names
        return replace(leaf, copies=tuple(name.replace(first, _embedding(i)) for i in range(1, depth)))

    return {path: copied(leaf) if path[0] == "conditioning" else leaf for path, leaf in leaves.items()}
