"""Pairs of noise and the image that a model made of it: shards of images, each with the seed that its noise comes from.

pairs.json says what they are; digests.json has the sha256 of each shard that is whole.
"""

import json
from dataclasses import dataclass, field

import numpy as np
from etils import epath

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.split import Arrays, Split
from fewstep.train.utils import npz
from fewstep.train.utils.hashing import sha256


@dataclass(frozen=True, eq=False)
class Paired(Arrays):
    """Arrays with the seeds (N,) of the noise that became the images."""

    seeds: np.ndarray = field(kw_only=True)


def pairs(path: str) -> Split:
    """The pairs in a folder that `fewstep pairs` wrote, in memory; UsageError where they are not whole."""
    folder = epath.Path(path).expanduser()
    if not (folder / "pairs.json").exists():
        raise UsageError(f"{path} holds no pairs: write them with fewstep pairs RUN --out {path}")
    told, digests = told_of(folder), digests_of(folder)
    parts = {name: whole(folder, name, digests.get(name)) for name in shards_of(told)}
    missing = [name for name, part in parts.items() if part is None]
    if missing or sum(len(part["seeds"]) for part in parts.values()) < told["count"]:
        raise UsageError(
            f"{path}: {', '.join(missing[:3]) or 'pairs'} missing or damaged: the same fewstep pairs draws them again"
        )
    if not alike(noise_print(told["seed"], told["shape"]), told["noise"]):
        raise UsageError(f"{path}: this version of JAX makes other noise of a seed: draw the pairs again")
    images, labels, seeds = (
        np.concatenate([part[key] for part in parts.values()])[: told["count"]] for key in ("images", "labels", "seeds")
    )
    return Split(Paired(images, labels if told["classes"] else None, seeds=seeds))


KEYS = {"step", "weights", "levers", "table", "calls", "shape", "classes", "count", "seed", "shard_size", "noise"}


def told_of(folder) -> dict:
    """pairs.json."""
    try:
        told = dict(json.loads((folder / "pairs.json").read_text()))
        if told.keys() >= KEYS and isinstance(told["noise"], list):
            return told
    except (OSError, ValueError, TypeError):
        pass
    raise UsageError(f"{folder / 'pairs.json'} is damaged: remove the folder and draw the pairs again")


def digests_of(folder) -> dict[str, str]:
    """digests.json, {} where there is none that can be read: then no shard is known to be whole."""
    try:
        return dict(json.loads((folder / "digests.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def shards_of(told) -> list[str]:
    """The names of all shards."""
    return [f"{i:05d}.npz" for i in range(-(-told["count"] // told["shard_size"]))]


def noise_print(seed, shape) -> list[float]:
    """What the noise of the first pair is told by: that it is made again from its seed has to hold."""
    from fewstep.samplers.loop import unit_noise  # reading data takes no JAX

    return [round(float(z), 3) for z in np.ravel(unit_noise(np.uint32([seed]), tuple(shape)))[:8]]


def alike(one, other) -> bool:
    """Whether two prints are of one noise, but for its last bits."""
    return len(one) == len(other) and np.allclose(one, other, atol=0.01)


def whole(folder, name, sha) -> dict | None:
    """What a shard holds, where that is what was written."""
    path = folder / name
    found = path.read_bytes() if path.exists() else b""
    return npz.decode(found) if sha256(found) == sha else None
