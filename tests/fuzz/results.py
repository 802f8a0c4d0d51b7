"""The numbers that a command left behind, to be compared with those of another time."""

import hashlib
import json
from pathlib import Path

import numpy as np


def results(verb: str, place: Path, run: str = "run") -> dict:
    """The images of `sample` and `pairs`, the distances of `compare`, ... in a place, those of this run; {} for verbs
    that only print."""
    if verb == "train":
        return losses(place / "new" / "metrics.jsonl")
    if verb == "sample":
        return arrays(place / "a.npz")
    if verb == "pairs":
        return {path.name: arrays(path) for path in sorted((place / run / "pairs").glob("*.npz"))}
    if verb == "compare":
        return table(place / run / "compare" / "table.json")
    if verb == "calibrate":
        return arrays(place / run / "stats" / "variance.npz")
    if verb == "data":
        return {path.name: digest(path.read_bytes()) for path in (place / "packed").iterdir()}
    return {}


def losses(path: Path) -> dict:
    """{step: loss}; every step at most once."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: line["loss"] for line in lines}


def digest(data: bytes) -> str:
    """Of what is too long to be shown."""
    return hashlib.sha256(data).hexdigest()


def arrays(path: Path) -> dict:
    """{name: shape and digest} of the arrays in a file, without the command and the seal."""
    with np.load(path) as saved:
        kept = {name: saved[name] for name in saved.files if name not in ("command", "sha256")}
    return {name: (array.shape, digest(array.tobytes())) for name, array in kept.items()}


def table(path: Path) -> dict:
    """Every number of a comparison but the times."""
    told = json.loads(path.read_text())
    for cell in told["cells"]:
        del cell["ms_per_image"]
    return {name: told[name] for name in ("cells", "gaps", "floors")}
