"""Drawing pairs of noise and image with a run, for ReFlow (Liu et al. 2022, arXiv:2209.03003)."""

import hashlib
import io
import json

import numpy as np
from etils import epath

from diffusion import Cond, Pred
from samplers.exact import follow
from samplers.loop import draw_many
from train.calibration import around
from train.contents import digest
from train.data.pairs import digests_of, noise_print, shards_of, told_of, whole
from train.errors import RunError
from train.files import write_atomic
from train.progress import progress
from train.sharding import batched


def write_pairs(run, table, folder, count, seed=0, levers=(), shard_size=10_000, batch=256) -> None:
    """Draw the images of `count` seeds with a table, with the labels of training images, and keep them in a folder;
    where some are there already, the rest.

    RunError for a table with noise, one that does not lead from the process's first time to its last, and a folder of
    other things or other pairs.
    """
    folder = epath.Path(folder)
    _refuse_other_ways(run.model.process, table)
    den = run.under(levers)
    told = {
        "run": str(run.folder), "step": run.step, "weights": run.weights, "levers": digest(around(den)),
        "table": digest(table), "calls": table.nfe, "shape": list(run.shape), "classes": run.model.classes,
        "count": count, "seed": seed, "shard_size": shard_size, "noise": noise_print(seed, run.shape),
    }  # fmt: skip
    known = _begun(folder, told)
    labels = _labels(run, count)
    todo = [name for name in shards_of(told) if name not in known]
    with progress(count, (len(shards_of(told)) - len(todo)) * shard_size, unit="pairs") as show:
        for name in todo:
            at = np.arange(int(name[:5]) * shard_size, min(count, (int(name[:5]) + 1) * shard_size))
            cond = Cond(None if labels is None else labels[at])
            images = draw_many(den, table, seed + at, run.shape, cond=cond, batch=batch, sharding=batched(run.mesh))
            if not np.isfinite(images).all():
                raise RunError(f"images of the seeds {seed + at[0]} to {seed + at[-1]} are not finite: take more calls")
            known = _kept(folder, name, images, labels[at] if labels is not None else at[:0], seed + at, known)
            show(int(at[-1]) + 1)


def _refuse_other_ways(process, table):
    if table.noise.any() or table.spread.any():
        raise RunError("pairs are of noise and what an ODE makes of it: choose a sampler without noise, such as heun")
    first, last = process.ends
    if table.t[0] != first:
        raise RunError(f"pairs begin where there is nothing but noise, at t = {first:g}: choose --grid uniform")
    # What a table makes of a state whose image and noise never change tells the time it ends at.
    known = Pred(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    ends = follow(table, lambda *_: known, np.array([process.alpha(first), process.sigma(first)]))
    if not np.allclose(ends, [process.alpha(last), process.sigma(last)], atol=1e-9):
        raise RunError(f"pairs end at images, at t = {last:g}: choose a grid that ends there")


FREE = ("run", "count")  # a run may move, and there may be more of its pairs


def _begun(folder, told):
    """The digests of the whole shards that are there; pairs.json is that of all that are to be."""
    known = digests_of(folder)
    if known:  # nothing else is worth keeping
        before = told_of(folder)
        if changed := [key for key, value in told.items() if key not in FREE and before.get(key) != value]:
            raise RunError(f"{folder} holds pairs of another {', '.join(changed)}: give another folder")
        if told["count"] < before["count"]:
            raise RunError(f"{folder} holds {before['count']} pairs already: ask for as many or more")
        grown = told["count"] > before["count"]  # then the last shard may have been a part of one
        names = shards_of(told)[: before["count"] // told["shard_size"]] if grown else shards_of(told)
        known = {name: sha for name, sha in known.items() if name in names and whole(folder, name, sha)}
        write_atomic(folder / "digests.json", json.dumps(known, indent=1) + "\n")
    elif others := [path.name for path in folder.iterdir() if not _ours(path.name)]:
        raise RunError(f"{folder} holds other things ({', '.join(sorted(others)[:3])}): give an empty folder")
    write_atomic(folder / "pairs.json", json.dumps(told, indent=1) + "\n")
    return known


def _ours(name):
    return name in ("pairs.json", "digests.json", ".lock") or name.endswith((".npz", ".tmp"))


def _labels(run, count):
    """Those of training images, over again where fewer."""
    train = run.data.train
    label = train[: min(count, len(train))].label if run.model.classes else None
    return None if label is None else np.resize(label, count).astype(np.int32)


def _kept(folder, name, images, labels, seeds, known):
    file = io.BytesIO()
    np.savez(file, images=images, labels=labels, seeds=np.asarray(seeds, np.uint32))
    write_atomic(folder / name, file.getvalue())
    known = known | {name: hashlib.sha256(file.getvalue()).hexdigest()}
    write_atomic(folder / "digests.json", json.dumps(known, indent=1) + "\n")
    return known
