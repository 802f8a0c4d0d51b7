"""Pairs of noise and the image that a model made of it: shards of images, each with the seed that its noise comes from.

pairs.json says what they are; digests.json has the sha256 of each shard that is whole.
"""

import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np
from etils import epath

from samplers.loop import unit_noise
from train.data.split import Split


@dataclass(frozen=True, eq=False)
class Paired:
    """A source of images in [-1, 1], float32 (N, *shape), labels (N,) or None, and the seeds (N,) of their noise."""

    images: np.ndarray
    labels: np.ndarray | None
    seeds: np.ndarray
    in_memory: bool = True

    @property
    def shape(self):
        return self.images.shape[1:]

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        """Images and labels, as any source."""
        return self.images[indices], None if self.labels is None else self.labels[indices]


def pairs(path: str) -> Split:
    """The pairs in a folder that `fewstep pairs` wrote, in memory; ValueError where they are not whole."""
    folder = epath.Path(path)
    if not (folder / "pairs.json").exists():
        raise ValueError(f"{path} holds no pairs: write them with fewstep pairs RUN --out {path}")
    told, digests = told_of(folder), digests_of(folder)
    missing = [name for name in shards_of(told) if name not in digests or not whole(folder, name)]
    if missing:
        raise ValueError(
            f"{path}: {', '.join(missing[:3])} missing or damaged: the same fewstep pairs draws them again"
        )
    if noise_print(told["seed"], told["shape"]) != told["noise"]:
        raise ValueError(f"{path}: this version of JAX makes other noise of a seed: draw the pairs again")
    parts = [_read(folder / name) for name in shards_of(told)]
    images, labels, seeds = (np.concatenate([part[key] for part in parts]) for key in ("images", "labels", "seeds"))
    return Split(Paired(images, labels if told["classes"] else None, seeds))


def told_of(folder) -> dict:
    """pairs.json."""
    return json.loads((folder / "pairs.json").read_text())


def digests_of(folder) -> dict[str, str]:
    """digests.json, {} where there is none yet."""
    path = folder / "digests.json"
    return json.loads(path.read_text()) if path.exists() else {}


def shards_of(told) -> list[str]:
    """The names of all shards."""
    return [f"{i:05d}.npz" for i in range(-(-told["count"] // told["shard_size"]))]


def noise_print(seed, shape) -> str:
    """What the noise of the first pair is told by: that it is made again from its seed has to hold."""
    return " ".join(f"{z:.3f}" for z in np.ravel(unit_noise(np.uint32([seed]), tuple(shape)))[:8])


def whole(folder, name) -> bool:
    """Whether a shard is what was written."""
    path = folder / name
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digests_of(folder).get(name)


def _read(path):
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
