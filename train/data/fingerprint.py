"""Whether a data set is still the one that a run was trained on: held-out images must not become training images."""

import numpy as np

LOOKED_AT = 32  # images of each part, spread evenly over it
SLACK = 0.05  # of a print, for other versions of decoders; two images differ by about 0.5


def fingerprint(data, pairs=None) -> dict:
    """What run.json remembers of a data set: {"train": {"images", "labels", "prints"}, "held_out": the same}, and the
    same of pairs that take the place of the training images.

    A print is an image's product with one white noise, over the root of its size.
    """
    parts = {"train": data.train, "held_out": data.held_out} | ({"pairs": pairs} if pairs else {})
    return {name: _part(split) for name, split in parts.items()}


def change(known, data, pairs=None) -> str | None:
    """How the data set differs from what run.json (`known`) remembers, such as "81 training images, not 72"; None where
    it does not, or nothing is remembered."""
    if tuple(data.shape) != tuple(known["shape"]):
        return f"images of {tuple(data.shape)}, not {tuple(known['shape'])}"
    if data.classes != known["classes"]:
        return f"{data.classes} classes, not {known['classes']}"
    for part, split, name in (
        ("train", data.train, "training"),
        ("held_out", data.held_out, "held-out"),
        ("pairs", pairs, "paired"),
    ):
        if split is None:
            continue
        told = known.get("data", {}).get(part)
        if told and told["images"] != len(split):
            return f"{len(split)} {name} images, not {told['images']}"
        if told and not _alike(told, _part(split)):
            return f"other {name} images, or the same in another order"
    return None


def _part(split):
    at = np.linspace(0, len(split) - 1, min(len(split), LOOKED_AT)).astype(int)
    items = [split[i] for i in at]  # one by one: they may be large
    noise = np.random.default_rng(0).standard_normal(split.shape)
    prints = (f"{float((item.image * noise).sum()) / noise.size**0.5:.3f}" for item in items)
    labels = (str(item.label) for item in items if item.label is not None)
    return {"images": len(split), "labels": " ".join(labels), "prints": " ".join(prints)}


def _alike(told, found):
    one, other = (np.array(part["prints"].split(), float) for part in (told, found))
    return told["labels"] == found["labels"] and one.shape == other.shape and np.abs(one - other).max() <= SLACK
