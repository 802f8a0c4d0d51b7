"""MeanFlow (Geng et al. 2025, arXiv:2505.13447): checkpoints of the authors' JAX code.

The facts are those of Gsunshine/meanflow at d70cb55 (models/models_dit.py, meanflow.py, configs/, utils/ckpt_util.py).
It saves by flax.training.checkpoints with the flax (0.8) and Orbax (0.4.4) that it pins: a folder checkpoint_N, where
the file `checkpoint` is MessagePack of the whole TrainState, with the sets params and ema_params.  Such a file
alone is what older flax wrote.  Nothing in it says the number of heads or the size of the image.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import VELOCITY, Linear
from fewstep.diffusion.networks import DiT
from fewstep.errors import UsageError
from fewstep.train.objectives import MeanFlow
from fewstep.zoo.dit import SIZES
from fewstep.zoo.files import chosen, read, weight_sets
from fewstep.zoo.found import Found
from fewstep.zoo.layout import Leaf, Path, linear, of_flax, patches, same
from fewstep.zoo.transformer import LATENTS, PUBLISHED, BlockNames, Names, Size, checked_size, depth, has_axes

PRESETS = {
    f"MeanFlow-{size}/{patch}": Size(*numbers, patch)
    for size, numbers in (SIZES | {"M": (1024, 16, 16)}).items()
    for patch in (2, 4, 8)
}
SIDE = 32  # of the latents of images of 256x256
FILE = "checkpoint"
DENSE = "._flax_linear"
STEM, LAST, LABELS, WIDE, JUMP = (
    "x_embedder.proj.kernel", f"final_layer.linear{DENSE}.kernel",
    "y_embedder.embedding_table._flax_embedding.embedding", f"blocks.layers_0.mlp.fc1{DENSE}.kernel",
    f"h_embedder.mlp.layers_0{DENSE}.kernel",
)  # fmt: skip
AXES = {STEM: 4, LAST: 2, LABELS: 2, WIDE: 2, JUMP: 2}
IMPROVED = "omega_embedder."  # of improved MeanFlow (arXiv:2512.02012): scales and intervals of guidance are tokens


def _dense(name: str, layout: Callable[..., Any] = linear, **options: Any) -> dict[Path, Leaf]:
    """`layout.dense` for a layer of flax, or its convolution."""
    kernel = partial(of_flax, layout=layout.__name__, **options)
    bias = partial(layout, **options) if layout not in (linear, patches) else same
    name = name if layout is patches else f"{name}{DENSE}"
    return {("kernel",): Leaf((f"{name}.kernel",), kernel), ("bias",): Leaf((f"{name}.bias",), bias)}


def _block(i):
    at = f"blocks.layers_{i}"
    return BlockNames(
        f"{at}.attn.qkv", f"{at}.attn.proj", f"{at}.mlp.fc1", f"{at}.mlp.fc2", f"{at}.adaLN_modulation.layers_1"
    )


NAMES = Names(
    stem="x_embedder.proj",
    time=("t_embedder.mlp.layers_0", "t_embedder.mlp.layers_2"),
    jump=("h_embedder.mlp.layers_0", "h_embedder.mlp.layers_2"),
    table=LABELS,
    block=_block,
    modulation="final_layer.adaLN_modulation.layers_1",
    head="final_layer.linear",
    dense=_dense,
)


def recognises(path: File, read: Callable[[File], Any] = read) -> bool:
    """Whether it is a checkpoint of this network, or of improved MeanFlow's, which `find` refuses."""
    file = _file(path)
    if file is None or file.suffix not in ("", ".msgpack"):
        return False
    return any(_is_ours(arrays) or _is_improved(arrays) for arrays in _sets(read(file)).values())


def find(path: File, name: str | None = None, weights: str | None = None, read: Callable[[File], Any] = read) -> Found:
    """The model in the checkpoint, which the preset `name` describes; weights: which set, by default the average.

    Raises UsageError without a preset, for another one than the shapes are of, and for improved MeanFlow.
    """
    file = _file(path)
    if file is None:
        raise UsageError(f"{path} holds no checkpoint of MeanFlow: give the folder checkpoint_N, or its file {FILE!r}")
    found = _sets(read(file))
    sets = {key: arrays for key, arrays in found.items() if _is_ours(arrays)}
    if not sets and any(map(_is_improved, found.values())):
        raise UsageError(
            f"{path} is of improved MeanFlow (iMF), whose transformer has tokens of conditions, rotary positions and "
            f"RMS norms: it is not opened, and the first MeanFlow is"
        )
    taken, arrays = chosen(sets, weights, f"set of weights of MeanFlow in {path}")
    patch, _, channels, width = arrays[STEM].shape
    size = checked_size(path, "MeanFlow", name, PRESETS, width, depth(arrays, "blocks.layers_"), patch)
    return Found(
        kind=f"{name} of Gsunshine/meanflow",
        network=partial(
            DiT, **size._asdict(), ratio=arrays[WIDE].shape[1] // size.width, jump_layers=True, **PUBLISHED
        ),
        process=Linear(),
        prediction=VELOCITY,
        shape=(SIDE, SIDE, channels),
        arrays=arrays,
        leaves=NAMES.leaves(size.depth, size.heads, channels, channels),
        files=(str(file),),
        licence="MIT, of Gsunshine/meanflow",
        classes=arrays[LABELS].shape[0] - 1,
        objective=MeanFlow(),
        sampled={"num_steps": 1, "schedule": "from 1 to 0", "guidance": "learned: no second call"} | LATENTS,
        options="--sampler flow_map --nfe 1",
        chosen=taken,
    )


def _file(path: File) -> File | None:
    """The file of MessagePack: the path, the one in it, or in the checkpoint of the largest step in it; None: there is
    none."""
    if not path.is_dir():
        return path if path.is_file() else None
    steps = sorted(path.glob("checkpoint_*"), key=_step, reverse=True)
    return next((file for file in (path / FILE, *map(_inner, steps)) if file.is_file()), None)


def _step(path):
    number = path.name.removeprefix("checkpoint_")
    return int(number) if number.isdecimal() else -1


def _inner(step):
    return step / FILE if step.is_dir() else step


def _sets(value: Any) -> dict[str, dict[str, np.ndarray]]:
    """The sets of weights, with names within the network, which is `net` in the authors' module."""
    sets = weight_sets(value)
    return {key: {name.removeprefix("net."): a for name, a in arrays.items()} for key, arrays in sets.items()}


def _is_ours(arrays: Mapping[str, np.ndarray]) -> bool:
    return has_axes(arrays, AXES)


def _is_improved(arrays: Mapping[str, np.ndarray]) -> bool:
    return any(name.startswith(IMPROVED) for name in arrays)
