"""Fingerprints of data sets, to detect changes: held-out images must not become training images of a resumed run."""

import numpy as np

from fewstep.train.data.dataset import Dataset
from fewstep.train.data.split import Split, evenly_spaced

SAMPLED = 32  # images per split, evenly spaced
SLACK = 0.05  # tolerance of a print, for other decoder versions; prints of different images differ by about 0.5


def fingerprint(data: Dataset, pairs: Split | None = None) -> dict:
    """The record of a data set in run.json: {"train": {"images", "labels", "prints"}, "held_out": {...}}, with "pairs"
    if these replace the training images.

    A print is the inner product of an image with fixed white noise, divided by the square root of its size.
    """
    parts = {"train": data.train, "held_out": data.held_out} | ({"pairs": pairs} if pairs else {})
    return {name: _part(split) for name, split in parts.items()}


def change(known: dict, data: Dataset, pairs: Split | None = None) -> str | None:
    """How the data set differs from the record in run.json (`known`), such as "81 training images, not 72".

    None if it does not differ, or if there is no record.
    """
    if tuple(data.shape) != tuple(known["shape"]):
        return f"images of {tuple(data.shape)}, not {tuple(known['shape'])}"
    if data.classes != known["classes"] and (known["classes"] or known.get("data")):  # imported: without labels, any
        return f"{data.classes} classes, not {known['classes']}"
    if known.get("names") and tuple(known["names"]) != data.names:
        return "other names of classes"
    for part, split, name in (
        ("train", data.train, "training"),
        ("held_out", data.held_out, "held-out"),
        ("pairs", pairs, "paired"),
    ):
        if split is None:
            continue
        recorded = known.get("data", {}).get(part)
        if recorded and recorded["images"] != len(split):
            return f"{len(split)} {name} images, not {recorded['images']}"
        if recorded and not _matches(recorded, _part(split)):
            return f"other {name} images, or the same in another order"
    return None


def check_record(record: dict) -> None:
    """ValueError, TypeError or KeyError for a damaged record."""
    for part in record.values():
        _ = part["images"] + 0, part["labels"].split(), np.array(part["prints"].split(), float)


def _part(split):
    items = [split[i] for i in evenly_spaced(split, SAMPLED)]  # one by one: they may be large
    noise = np.random.default_rng(0).standard_normal(split.shape)
    prints = (f"{float((item.image * noise).sum()) / noise.size**0.5:.3f}" for item in items)
    labels = (str(item.label) for item in items if item.label is not None)
    return {"images": len(split), "labels": " ".join(labels), "prints": " ".join(prints)}


def _matches(recorded, found):
    one, other = (np.array(part["prints"].split(), float) for part in (recorded, found))
    return recorded["labels"] == found["labels"] and one.shape == other.shape and np.abs(one - other).max() <= SLACK
