"""A denoiser with data, in the place of a run: what a comparison samples from and measures against."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from etils import epath
from jax.sharding import Mesh

from fewstep.diffusion.levers import under
from fewstep.train.data import Dataset
from fewstep.train.sharding import make_mesh
from fewstep.train.utils.hashing import digest


@dataclass(frozen=True)
class Subject:
    """A denoiser, an oracle or anybody's function, with the real images that it is compared with."""

    name: str
    denoiser: Any
    data: Dataset
    folder: epath.Path = field(default_factory=lambda: epath.Path(tempfile.mkdtemp(prefix="fewstep-")))
    mesh: Mesh = field(default_factory=lambda: make_mesh((-1, 1, 1)))
    step: int = 0
    calibrates: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.data.shape)

    @property
    def model(self) -> Any:
        """What has a process and capabilities."""
        return self.denoiser

    @property
    def weights(self) -> str:
        """A digest of the denoiser."""
        return digest(self.denoiser)

    def under(self, levers: Iterable[Callable]) -> Any:
        """The denoiser under levers, the first innermost."""
        return under(self.denoiser, levers)
