"""Small files of DiT, SiT and MeanFlow, as their authors write them."""

from pathlib import Path

import numpy as np
from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict
from foreign_files import Called, tensor, zip_file
from msgpack import ExtType, packb
from seeded_weights import seeded

from fewstep.diffusion.networks.positions import places, sincos


def published(width: int = 24, depth: int = 2, patch: int = 2, side: int = 4, ratio: int = 4, outputs: int = 6) -> dict:
    """The arrays of a DiT of images of 3 channels and of 5 classes, with their names in facebookresearch/DiT."""
    shapes = {"x_embedder.proj": (width, 3, patch, patch), "t_embedder.mlp.0": (width, 256)}
    shapes |= {"t_embedder.mlp.2": (width, width), "final_layer.linear": (patch**2 * outputs, width)}
    shapes |= {"final_layer.adaLN_modulation.1": (2 * width, width)}
    inner = {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": ratio, "adaLN_modulation.1": 6}
    for i in range(depth):
        shapes |= {f"blocks.{i}.{name}": (count * width, width) for name, count in inner.items()}
        shapes[f"blocks.{i}.mlp.fc2"] = (width, ratio * width)
    named = {f"{name}.weight": shape for name, shape in shapes.items()}
    named |= {f"{name}.bias": shape[:1] for name, shape in shapes.items()}
    arrays = {name: seeded(name, shape) for name, shape in named.items()}
    arrays["y_embedder.embedding_table.weight"] = seeded("y_embedder.embedding_table.weight", (6, width))
    return arrays | {"pos_embed": sincos(places((side, side), (side, side))[:, ::-1], width)[None]}


def write_pt(path: Path, value: dict) -> Path:
    """A file of torch.save with arrays as tensors, also in dicts."""
    count = iter(range(10**6))

    def tensors(value):
        if isinstance(value, dict):
            return {key: tensors(inner) for key, inner in value.items()}
        return tensor(value, str(next(count))) if isinstance(value, np.ndarray) else value

    path.write_bytes(zip_file(tensors(value)))
    return path


def namespace(**values) -> Called:
    """An argparse.Namespace in such a file."""
    return Called("argparse.Namespace", state=values)


def write_flax(folder: Path, arrays: dict, ema: dict | None = None) -> Path:
    """The folder of a checkpoint of MeanFlow: a TrainState with these parameters by their dotted names."""

    def net(arrays):
        return {"net": unflatten_dict({tuple(name.split(".")): array for name, array in arrays.items()})}

    empty = ExtType(4, packb([]))  # EmptyState() of optax, as Orbax 0.4.4 writes it
    state = {"step": 7, "params": net(arrays), "ema_params": net(arrays if ema is None else ema)}
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_bytes(msgpack_serialize(state | {"opt_state": [{"mu": net(arrays)}, empty]}))
    return folder


def flax_names(arrays: dict, jump: bool = True) -> dict:
    """`published` arrays under the names and in the layouts of Gsunshine/meanflow."""
    found = {}
    for name, array in arrays.items():
        if name == "pos_embed":
            continue
        *path, last = name.split(".")
        path = [f"layers_{part}" if part.isdecimal() else part for part in path]
        if last == "weight" and path[0] != "y_embedder":
            array, last = (array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)), "kernel"
        inner = {"x_embedder": [], "y_embedder": ["_flax_embedding"]}.get(path[0], ["_flax_linear"])
        last = "embedding" if path[0] == "y_embedder" else last
        found[".".join([*path, *inner, last])] = np.ascontiguousarray(array)
    times = {name: array for name, array in found.items() if name.startswith("t_embedder")} if jump else {}
    return found | {name.replace("t_emb", "h_emb"): array + 1 for name, array in times.items()}
