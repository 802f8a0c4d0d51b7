"""Pairs of noise and the image that a model maps it to: shards of images, each with the seed of its noise.

pairs.json describes them; digests.json has the SHA-256 of each complete shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from etils import epath

from fewstep.errors import UsageError
from fewstep.train.data.split import Arrays, Split
from fewstep.train.utils import npz
from fewstep.train.utils.files import read_bytes
from fewstep.train.utils.hashing import sha256
from fewstep.train.utils.sealed import Changed, read_json


@dataclass(frozen=True, eq=False)
class Paired(Arrays):
    """Arrays with the seeds (N,) of the noise of each image, and [name, digest] of the features that the model which
    drew the images was trained on."""

    seeds: np.ndarray = field(kw_only=True)
    trained_features: list[list[str]] = field(kw_only=True, default_factory=list)


def pairs(path: str) -> Split:
    """The pairs in a folder that `fewstep pairs` wrote, in memory; raises UsageError if they are incomplete."""
    folder = epath.Path(path).expanduser()
    if not (folder / "pairs.json").exists():
        raise UsageError(f"{path} has no pairs: write them with fewstep pairs RUN --out {path}")
    record, digests = read_record(folder), read_digests(folder)
    names = shard_names(record)
    shards = {name: shard for name in names if (shard := read_shard(folder, name, digests.get(name))) is not None}
    missing = [name for name in names if name not in shards]
    if missing or sum(len(shard["seeds"]) for shard in shards.values()) < record["count"]:
        raise UsageError(
            f"{path}: {', '.join(missing[:3]) or 'pairs'} missing or damaged: run the same fewstep pairs command again"
        )
    if not same_noise(noise_fingerprint(record["seed"], record["shape"]), record["noise"]):
        raise UsageError(f"{path}: this version of JAX generates other noise from a seed: draw the pairs again")
    images, labels, seeds = (
        np.concatenate([shard[key] for shard in shards.values()])[: record["count"]]
        for key in ("images", "labels", "seeds")
    )
    features = record.get("trained_features", [])  # not in pairs of before fewstep 0.2
    return Split(Paired(images, labels if record["classes"] else None, seeds=seeds, trained_features=features))


KEYS = {"step", "weights", "levers", "table", "calls", "shape", "classes", "count", "seed", "shard_size", "noise"}


def read_record(folder: epath.Path) -> dict[str, Any]:
    """The contents of pairs.json; raises UsageError if it is damaged."""
    try:
        record = dict(read_json(folder / "pairs.json"))
        if record.keys() >= KEYS and isinstance(record["noise"], list):
            return record
    except Changed as error:
        raise UsageError(f"{error}: remove the folder and draw the pairs again") from None
    except (OSError, ValueError, TypeError):
        pass
    raise UsageError(f"{folder / 'pairs.json'} is damaged: remove the folder and draw the pairs again")


def read_digests(folder: epath.Path) -> dict[str, str]:
    """The contents of digests.json; {} if it cannot be read, so that no shard counts as complete."""
    try:
        return dict(read_json(folder / "digests.json"))
    except (OSError, ValueError, TypeError):
        return {}


def shard_names(record: dict[str, Any]) -> list[str]:
    """The names of all shards."""
    return [f"{i:05d}.npz" for i in range(-(-record["count"] // record["shard_size"]))]


def noise_fingerprint(seed: int, shape: Sequence[int]) -> list[float]:
    """The first values of the noise of a seed, to verify that the noise can be regenerated."""
    from fewstep.samplers.start import unit_noise  # imported late: reading data does not need JAX

    return [round(float(z), 3) for z in np.ravel(unit_noise(np.array([seed], np.uint32), tuple(shape)))[:8]]


def same_noise(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two fingerprints are of the same noise, up to rounding."""
    return len(one) == len(other) and np.allclose(one, other, atol=0.01)


def read_shard(folder: epath.Path, name: str, sha: str | None) -> dict[str, np.ndarray] | None:
    """The arrays of a shard; None if it is missing or its SHA-256 differs."""
    path = folder / name
    found = read_bytes(path) if path.exists() else b""
    return npz.decode(found, path) if sha256(found) == sha else None
