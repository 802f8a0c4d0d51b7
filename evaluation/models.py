"""What a report says about the model of a run."""

from typing import Any

import numpy as np
from etils import epath

from fewstep.diffusion.denoiser import CAPABILITY_NAMES
from fewstep.train.data.absent import BLANK
from fewstep.train.logs.jsonl import read
from fewstep.train.run.run import read_description
from fewstep.train.utils.config_values import config_values
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import relative


def model_record(run: Any) -> dict[str, Any]:
    """The data and capabilities of a `train.run.Run` or a `Subject`; of the former also what its folder tells:
    checkpoint, parameters, and the time of its training and the features it was trained on, or that it was imported."""
    data = run.data
    record = {
        "shape": [*map(int, data.shape)],
        "classes": int(run.denoiser.classes),
        "learned": [CAPABILITY_NAMES[name] for name in sorted(run.denoiser.capabilities) if name in CAPABILITY_NAMES],
    }
    if data.name != BLANK:
        record |= {"data": data.name, "training_images": len(data.train), "held_out_images": len(data.held_out)}
    if not (run.folder / "run.json").exists():
        return record
    known = read_description(run.folder)
    record |= {
        "folder": relative(run.folder),
        "checkpoint": run.step,
        "weights": run.weights,
        "parameters": known.get("parameters"),
        "commit": known.get("commit"),
        "versions": known.get("versions", {}),
    }
    if "imported" in known:  # how it was trained is unknown
        return record | {"imported": {name: known["imported"].get(name) for name in ("kind", "licence")}}
    features = [name for name, _ in known["trained_features"]]
    return record | {"training_seconds": training_seconds(run.folder), "trained_features": features}


def trained_features(run: Any) -> list[list[str]]:
    """[name, digest] of the features that a run, or one that it was started from, was trained on."""
    return read_description(run.folder)["trained_features"] if (run.folder / "run.json").exists() else []


def training_seconds(folder: epath.Path) -> float | None:
    """The time of the logged training steps, without previews and checkpoints; None if no log tells it."""
    try:
        size = config_values(folder).get("train.batch_size", "")
        lines = [line for line in read(folder / "metrics.jsonl") if line.get("images_per_s")]
    except RunError:  # a damaged log is no reason to lose a comparison
        return None
    if not size.isdigit() or not lines:
        return None
    steps = np.diff([0, *(line["step"] for line in lines)])
    return float(int(size) * np.sum(steps / [line["images_per_s"] for line in lines]))
