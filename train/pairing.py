"""Drawing pairs of noise and image with a run, for ReFlow (Liu et al. 2022, arXiv:2209.03003)."""

import hashlib
import io
import json

import numpy as np
from etils import epath

from diffusion import Cond
from samplers.loop import draw_many
from train.calibration import around
from train.contents import digest
from train.data.pairs import digests_of, noise_print, shards_of, told_of, whole
from train.errors import RunError
from train.files import write_atomic
from train.processes import first, from_first, meet
from train.progress import progress
from train.sharding import batched


def write_pairs(run, table, folder, count, seed=0, levers=(), shard_size=10_000, batch=256) -> None:
    """Draw the images of `count` seeds with a table, with the labels of training images, and keep them in a folder;
    where some are there already, the rest.

    RunError for a table with noise, one that does not begin at the process's first time, and a folder of other pairs.
    """
    process, folder = run.model.process, epath.Path(folder)
    if table.noise.any() or table.spread.any():
        raise RunError("pairs are of noise and what an ODE makes of it: choose a sampler without noise, such as heun")
    if table.t[0] != process.ends[0]:
        raise RunError(
            f"pairs begin where there is nothing but noise, at t = {process.ends[0]:g}: choose --grid uniform"
        )
    den = run.under(levers)
    told = {
        "run": str(run.folder), "step": run.step, "weights": run.weights, "levers": digest(around(den)),
        "table": digest(table), "calls": table.nfe, "shape": list(run.shape), "classes": run.model.classes,
        "count": count, "seed": seed, "shard_size": shard_size, "noise": noise_print(seed, run.shape),
    }  # fmt: skip
    known, refusal = from_first(_begun(folder, told) if first() else None)
    if refusal:
        raise RunError(refusal)
    labels = _labels(run, count)
    todo = [name for name in shards_of(told) if name not in known]
    with progress(count, (len(shards_of(told)) - len(todo)) * shard_size, unit="pairs") as show:
        for name in todo:
            at = np.arange(int(name[:5]) * shard_size, min(count, (int(name[:5]) + 1) * shard_size))
            cond = Cond(None if labels is None else labels[at])
            images = draw_many(den, table, seed + at, run.shape, cond=cond, batch=batch, sharding=batched(run.mesh))
            if not np.isfinite(images).all():
                raise RunError(f"images of the seeds {seed + at[0]} to {seed + at[-1]} are not finite: take more calls")
            if first():
                known = _kept(folder, name, images, labels[at] if labels is not None else at[:0], seed + at, known)
            show(int(at[-1]) + 1)
    meet("the pairs are written")


FREE = ("run", "count")  # a run may move, and there may be more of its pairs


def _begun(folder, told):
    """The digests of the whole shards that are there, and why no more can be drawn there, or None."""
    known = told_of(folder) if (folder / "pairs.json").exists() else {}
    if changed := [key for key, value in told.items() if known and key not in FREE and known.get(key) != value]:
        return {}, f"{folder} holds pairs of another {', '.join(changed)}: give another folder"
    write_atomic(folder / "pairs.json", json.dumps(told, indent=1) + "\n")
    names = shards_of(told)
    if known and known["count"] != told["count"]:  # the last one may have been a part
        names = names[: min(known["count"], told["count"]) // told["shard_size"]]
    return {name: digest for name, digest in digests_of(folder).items() if name in names and whole(folder, name)}, None


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
