"""Drawing pairs of noise and image with a run, for ReFlow (Liu et al. 2022, arXiv:2209.03003)."""

import json
import re

import numpy as np
from etils import epath

from fewstep.diffusion import Cond
from fewstep.samplers.loop import draw_many
from fewstep.train.data.pairs import alike, digests_of, noise_print, shards_of, told_of, whole
from fewstep.train.run.calibration import around, check_data_size
from fewstep.train.sharding import batched
from fewstep.train.utils import npz
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.hashing import digest, sha256
from fewstep.train.utils.progress import progress


def write_pairs(run, table, folder, count, seed=0, levers=(), shard_size=1024, batch=256) -> None:
    """Draw the images of `count` seeds with a table, with the labels of training images, and keep them in a folder;
    where some are there already, the rest.

    RunError for a table with noise or one that does not begin at the process's first time, and a folder of other things
    or other pairs.
    """
    folder, first = epath.Path(folder), run.model.process.ends[0]
    if table.noise.any() or table.spread.any():
        raise RunError("pairs are of noise and what an ODE makes of it: choose a sampler without noise, such as heun")
    if table.t[0] != first:
        raise RunError(f"pairs begin where there is nothing but noise, at t = {first:g}: choose --grid uniform")
    den = run.under(levers)
    check_data_size(run, den)
    told = {
        "run": str(run.folder), "step": run.step, "weights": run.weights, "levers": digest(around(den)),
        "table": digest(table), "calls": table.nfe, "shape": list(run.shape), "classes": run.model.classes,
        "count": count, "seed": seed, "shard_size": shard_size, "noise": noise_print(seed, run.shape),
    }  # fmt: skip
    _begin(folder, told)
    labels, digests = _labels(run, count), digests_of(folder)
    with progress(count, 0, unit="pairs") as show:
        for i, name in enumerate(shards_of(told)):
            have = whole(folder, name, digests.get(name))
            have = {} if have is None else have
            at = np.arange(i * shard_size, min(count, (i + 1) * shard_size))[len(have.get("seeds", ())) :]
            if len(at):
                cond = Cond(None if labels is None else labels[at])
                images = draw_many(den, table, seed + at, run.shape, cond=cond, batch=batch, sharding=batched(run.mesh))
                if not np.isfinite(images).all():
                    some = f"{seed + at[0]} to {seed + at[-1]}"
                    raise RunError(f"images of the seeds {some} are not finite: take more calls")
                new = {"images": images, "labels": at[:0] if labels is None else labels[at]}
                new["seeds"] = (seed + at).astype(np.uint32)
                digests = _kept(folder, name, have, new, digests)
            show(min(count, (i + 1) * shard_size))
    write_atomic(folder / "pairs.json", json.dumps(told, indent=1) + "\n")


FREE = ("run", "count", "noise")  # a run may move, there may be more of its pairs, and noise is told with some slack


def _begin(folder, told):
    """Claim the folder; where it holds pairs, see that they are of this kind, and leave their number until there are
    more."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    if others := [name for name in names if not OURS.fullmatch(name)]:
        raise RunError(f"{folder} holds other things ({', '.join(sorted(others)[:3])}): give an empty folder")
    if "pairs.json" in names and any(name.endswith(".npz") for name in names):
        before = told_of(folder)
        changed = [key for key, value in told.items() if key not in FREE and before[key] != value]
        if changed := changed + ["noise"] * (not alike(before["noise"], told["noise"])):
            raise RunError(f"{folder} holds pairs of another {', '.join(changed)}: give another folder")
        if told["count"] < before["count"]:
            raise RunError(f"{folder} is of {before['count']} pairs already: ask for as many or more")
    else:
        write_atomic(folder / "pairs.json", json.dumps(told, indent=1) + "\n")


OURS = re.compile(r"\d{5}\.npz|pairs\.json|digests\.json|\.lock|.*\.tmp")


def _labels(run, count):
    """Those of training images, over again where fewer."""
    train = run.data.train
    label = train[: min(count, len(train))].label if run.model.classes else None
    return None if label is None else np.resize(label, count).astype(np.int32)


def _kept(folder, name, have, new, digests):
    """The shard with what is new behind what it had."""
    data = npz.encode(**{key: np.concatenate([have[key], part]) if have else part for key, part in new.items()})
    write_atomic(folder / name, data)
    digests = digests | {name: sha256(data)}
    write_atomic(folder / "digests.json", json.dumps(digests, indent=1) + "\n")
    return digests
