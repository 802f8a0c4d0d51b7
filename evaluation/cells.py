"""A cache of drawn images on disk, keyed by everything that their bits depend on."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

import fewstep.diffusion
import fewstep.samplers
from fewstep.train.utils import npz
from fewstep.train.utils.hashing import sha256


class Extra(NamedTuple):
    """Additional values, one per image."""

    depends_on: str  # digest of what else they depend on
    values: np.ndarray  # (N,)


class Drawn(NamedTuple):
    """The images of a sampler at one budget, for one set of seeds."""

    images: np.ndarray  # (N, ...), quantized (`features.quantized`)
    finite: bool  # whether the images of the sampler were finite
    seconds: np.ndarray  # of each batch
    batch: int  # images per batch
    rms: float  # the root mean square of the images of the sampler
    extra: Mapping[str, Extra] = {}  # values of metrics that need more than the images


class Cells:
    """A folder of cells, one file NAME-KEY.npz each, written atomically; unreadable files are ignored."""

    def __init__(self, folder: epath.PathLike):
        self.folder = epath.Path(folder)

    def path(self, name: str, key: str) -> epath.Path:
        """The file of a cell."""
        return self.folder / f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', name)}-{key[:16]}.npz"

    def load(self, name: str, key: str) -> Drawn | None:
        """The cell, or None if it is missing or damaged."""
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
            whole, images, finite, seconds, size, rms = (found[n] for n in ("key", *Drawn._fields[:5]))
        except (npz.Damaged, KeyError):
            return None
        if str(whole) != key:
            return None
        return Drawn(images, bool(finite), seconds, int(size), float(rms), extra)

    def save(self, name: str, key: str, drawn: Drawn) -> None:
        """Write a cell."""
        extra = {f"{name}/of": e.depends_on for name, e in drawn.extra.items()}
        extra |= {f"{name}/values": e.values for name, e in drawn.extra.items()}
        npz.write(self.path(name, key), key=key, **dict(zip(Drawn._fields[:5], drawn, strict=False)), **extra)


def environment() -> dict[str, str]:
    """What the bits of an image depend on besides the cell: library versions, code digests and the device."""
    found = {name: version(name) for name in ("jax", "jaxlib", "flax")}
    found |= {package.__name__: source(package) for package in (fewstep.diffusion, fewstep.samplers)}
    return found | {"device": f"{jax.device_count()} {jax.devices()[0].device_kind}"}


def source(module: ModuleType) -> str:
    """A digest of the source code of a module or package."""
    path = Path(str(module.__file__))
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return sha256(*(file.read_bytes() for file in files))
