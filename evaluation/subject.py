"""A denoiser with data, in the place of a run: what a comparison samples from and measures against."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

from etils import epath
from jax.sharding import Mesh

from fewstep.diffusion.denoiser import Lever
from fewstep.train.data import Dataset
from fewstep.train.run.computation import computation
from fewstep.train.run.levers import levered
from fewstep.train.sharding import make_mesh
from fewstep.train.utils.hashing import digest


@dataclass(frozen=True)
class Subject:
    """A denoiser, an oracle or anybody's function, with the real images that it is compared with."""

    name: str
    denoiser: Any
    data: Dataset
    folder: epath.Path  # for statistics and features
    mesh: Mesh = field(default_factory=lambda: make_mesh((-1, 1, 1)))
    step: int = 0
    calibrates: bool = False
    opener: Any = None  # as of a Run

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.data.shape)

    code = None  # part of the weights

    @property
    def model(self) -> Any:
        """The denoiser: like the model of a run, it has a process, classes and capabilities."""
        return self.denoiser

    @cached_property
    def weights(self) -> str:
        """A digest of the denoiser and what it computes; another one each time for a function outside JAX."""
        return digest(self.denoiser, computation(self.denoiser, self.shape, uuid4().hex))

    def under(self, levers: Iterable[str | Lever]) -> Any:
        """The denoiser under levers, or their texts, the first innermost."""
        return levered(self, levers)
