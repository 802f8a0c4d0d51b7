"""Drawing pairs of noise and image with a run, for ReFlow (Liu et al. 2022, arXiv:2209.03003)."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from fewstep.diffusion import Cond
from fewstep.samplers import Tableau
from fewstep.samplers.loop import draw_many
from fewstep.train.data.pairs import noise_fingerprint, read_digests, read_record, read_shard, same_noise, shard_names
from fewstep.train.run.calibration import check_data_size, levers_around
from fewstep.train.run.run import read_description
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils import npz
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.hashing import digest, sha256
from fewstep.train.utils.progress import progress
from fewstep.train.utils.sealed import sealed_json


def write_pairs(
    run: Any,
    table: Tableau,
    folder: epath.PathLike,
    count: int,
    seed: int = 0,
    levers: Sequence = (),
    shard_size: int = 1024,
    batch: int = 256,
) -> None:
    """Draw the images of `count` seeds with a table and the labels of training images, and store them in a folder;
    shards that are complete already are kept.

    run is a `train.run.Run`.  Raises RunError for a table with noise, for one that does not start at the first time of
    the process, and for a folder with other files or other pairs.
    """
    run.model.process.check_gaussian("drawing pairs")
    folder, first = epath.Path(folder), run.model.process.ends[0]
    if table.noise.any() or table.spread.any():
        raise RunError("pairs require a deterministic sampler: choose one without noise, such as heun")
    if table.t[0] != first:
        raise RunError(f"pairs must start at pure noise, at t = {first:g}: choose --grid uniform")
    den = run.under(levers)
    check_data_size(run, den)
    record = {
        "run": str(run.folder), "step": run.step, "weights": run.weights, "levers": digest(levers_around(den)),
        "table": digest(table), "calls": table.nfe, "shape": list(run.shape), "classes": run.model.classes,
        "count": count, "seed": seed, "shard_size": shard_size, "noise": noise_fingerprint(seed, run.shape),
        "trained_features": read_description(run.folder)["trained_features"],
    }  # fmt: skip
    _prepare_folder(folder, record)
    labels, digests = _labels(run, count), read_digests(folder)
    options: dict[str, Any] = {"batch": batch, "sharding": batch_sharding(run.mesh)}
    with progress(count, 0, unit="pairs") as show:
        for i, name in enumerate(shard_names(record)):
            have = read_shard(folder, name, digests.get(name))
            have = {} if have is None else have
            at = np.arange(i * shard_size, min(count, (i + 1) * shard_size))[len(have.get("seeds", ())) :]
            if len(at):
                cond = Cond(None if labels is None else labels[at])
                images = draw_many(den, table, seed + at, run.shape, cond=cond, **options)
                if not np.isfinite(images).all():
                    some = f"{seed + at[0]} to {seed + at[-1]}"
                    raise RunError(f"images of the seeds {some} are not finite: use more calls")
                new = {"images": images, "labels": at[:0] if labels is None else labels[at]}
                new["seeds"] = (seed + at).astype(np.uint32)
                digests = _write_shard(folder, name, have, new, digests)
            show(min(count, (i + 1) * shard_size))
    write_atomic(folder / "pairs.json", sealed_json(record, indent=1))


# The run may be moved, the count may grow, noise is compared with a tolerance, and features follow from the weights.
FREE = ("run", "count", "noise", "trained_features")


def _prepare_folder(folder, record):
    """Write pairs.json into an empty folder; for a folder with pairs, check that they match the record, whose larger
    count is written at the end."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    if others := [name for name in names if not OURS.fullmatch(name)]:
        raise RunError(f"{folder} has other files ({', '.join(sorted(others)[:3])}): choose an empty folder")
    if "pairs.json" in names and any(name.endswith(".npz") for name in names):
        before = read_record(folder)
        changed = [key for key, value in record.items() if key not in FREE and before[key] != value]
        if changed := changed + ["noise"] * (not same_noise(before["noise"], record["noise"])):
            raise RunError(f"{folder} has pairs of another {', '.join(changed)}: choose another folder")
        if record["count"] < before["count"]:
            raise RunError(f"{folder} has {before['count']} pairs already: ask for as many or more")
    else:
        write_atomic(folder / "pairs.json", sealed_json(record, indent=1))


OURS = re.compile(r"\d{5}\.npz|pairs\.json|digests\.json|\.lock|.*\.tmp")


def _labels(run, count):
    """The labels of training images, repeated if there are fewer than `count`; without data all classes in turn."""
    if not run.model.classes or not run.has_data:
        return run.labels(None, count).label
    train = run.data.train
    return np.resize(train[: min(count, len(train))].label, count).astype(np.int32)


def _write_shard(folder, name, have, new, digests):
    """Append the new arrays to a shard; returns the updated digests."""
    data = npz.encode(**{key: np.concatenate([have[key], part]) if have else part for key, part in new.items()})
    write_atomic(folder / name, data)
    digests = digests | {name: sha256(data)}
    write_atomic(folder / "digests.json", json.dumps(digests, indent=1) + "\n")
    return digests
