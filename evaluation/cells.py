"""Images that a comparison has drawn, kept on disk: each under what its bits depend on, so that none is drawn twice."""

import hashlib
import io
import re
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

import diffusion
import samplers
from train.data.archive import BROKEN
from train.files import write_atomic


class Drawn(NamedTuple):
    """The images of a sampler at a budget and one set of seeds."""

    images: np.ndarray  # (N, ...), as of `features.stored`
    finite: bool  # whether the sampler's own images were
    seconds: np.ndarray  # of each batch
    batch: int  # images in each of them
    error: np.ndarray  # (N,) mean squared distance to a reference solution; (0,) where there is none
    solution: str = ""  # the digest of that solution


class Cells:
    """A folder of cells, NAME-KEY.npz each, written whole or not at all; what cannot be read does not count."""

    def __init__(self, folder):
        self.folder = epath.Path(folder)

    def path(self, name, key):
        """The file of a cell."""
        return self.folder / f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', name)}-{key[:16]}.npz"

    def load(self, name, key) -> Drawn | None:
        """The cell, or None where there is none, or none that is whole."""
        path = self.path(name, key)
        if not path.exists():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                found = {field: file[field] for field in (*Drawn._fields, "key")}
        except (*BROKEN, KeyError):
            return None
        if str(found.pop("key")) != key:
            return None
        told = {"finite": bool(found["finite"]), "batch": int(found["batch"]), "solution": str(found["solution"])}
        return Drawn(**found | told)

    def save(self, name, key, drawn: Drawn) -> None:
        """Write a cell."""
        file = io.BytesIO()
        np.savez(file, key=key, **drawn._asdict())
        write_atomic(self.path(name, key), file.getvalue())


def environment() -> dict:
    """What else the bits of an image depend on, the code of networks and samplers included."""
    found = {name: version(name) for name in ("jax", "jaxlib", "flax")}
    for package in (diffusion, samplers):
        files = sorted(Path(package.__file__).parent.rglob("*.py"))
        found[package.__name__] = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return found | {"device": f"{jax.device_count()} {jax.devices()[0].device_kind}"}
