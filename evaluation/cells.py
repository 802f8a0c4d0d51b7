"""Images that a comparison has drawn, kept on disk: each under what its bits depend on, so that none is drawn twice."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

import fewstep.diffusion
import fewstep.samplers
from fewstep.train.utils import npz
from fewstep.train.utils.hashing import sha256


class Extra(NamedTuple):
    """A number of each of some images."""

    depends_on: str  # digest of what else it depends on
    values: np.ndarray


class Drawn(NamedTuple):
    """The images of a sampler at a budget and one set of seeds."""

    images: np.ndarray  # (N, ...), as of `features.quantized`
    finite: bool  # whether the sampler's own images were
    seconds: np.ndarray  # of each batch
    batch: int  # images in each of them
    extra: Mapping[str, Extra] = {}  # what was told of them, or of how they are drawn, beside


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
            found = npz.read(path)
            extra = {
                name.removesuffix("/of"): Extra(str(of), found[name.removesuffix("of") + "values"])
                for name, of in found.items()
                if name.endswith("/of")
            }
            whole, images, finite, seconds, size = (found[n] for n in ("key", *Drawn._fields[:4]))
        except (npz.Damaged, KeyError):
            return None
        if str(whole) != key:
            return None
        return Drawn(images, bool(finite), seconds, int(size), extra)

    def save(self, name, key, drawn: Drawn) -> None:
        """Write a cell."""
        extra = {f"{name}/of": e.depends_on for name, e in drawn.extra.items()}
        extra |= {f"{name}/values": e.values for name, e in drawn.extra.items()}
        npz.write(self.path(name, key), key=key, **dict(zip(Drawn._fields[:4], drawn, strict=False)), **extra)


def environment() -> dict:
    """What else the bits of an image depend on, the code of networks and samplers included."""
    found = {name: version(name) for name in ("jax", "jaxlib", "flax")}
    found |= {package.__name__: source(package) for package in (fewstep.diffusion, fewstep.samplers)}
    return found | {"device": f"{jax.device_count()} {jax.devices()[0].device_kind}"}


def source(module) -> str:
    """A digest of the code of a module, or of a package."""
    path = Path(module.__file__)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return sha256(*(file.read_bytes() for file in files))
