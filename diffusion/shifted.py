"""The time-shifted version of a process, for larger images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import jax

from fewstep.diffusion.arrays import Number, NumberT
from fewstep.diffusion.process import Linear, Process
from fewstep.ranges import Range, checked


@checked
@dataclass(frozen=True)
class Shifted(Process):
    """Another process with its time warped, t -> shift t / (1 + (shift - 1) t): shift > 1 spends more time at high
    noise.  On the linear path this is lam -> lam - log(shift) (Esser et al. 2024, arXiv:2403.03206).
    """

    process: Process = Linear()
    shift: Annotated[float, Range(above=0, most=1000)] = 3.0

    def __post_init__(self) -> None:
        self._require(isinstance(self.process, Process), "a process")

    def _warp(self, t: NumberT) -> NumberT:
        return self.shift * t / (1 + (self.shift - 1) * t)

    def _unwarp(self, t: NumberT) -> NumberT:
        return t / (self.shift - (self.shift - 1) * t)

    def _slope(self, t: NumberT) -> NumberT:
        return self.shift / (1 + (self.shift - 1) * t) ** 2

    @property
    def ends(self) -> tuple[float, float]:
        first, last = self.process.ends
        return self._unwarp(first), self._unwarp(last)

    @property
    def snr_ends(self) -> tuple[float, float]:
        first, last = self.process.snr_ends
        return self._unwarp(first), self._unwarp(last)

    @property
    def grid(self) -> str | None:
        return self.process.grid

    def alpha(self, t: NumberT) -> NumberT:
        return self.process.alpha(self._warp(t))

    def sigma(self, t: NumberT) -> NumberT:
        return self.process.sigma(self._warp(t))

    def dalpha(self, t: NumberT) -> NumberT:
        return self._slope(t) * self.process.dalpha(self._warp(t))

    def dsigma(self, t: NumberT) -> NumberT:
        return self._slope(t) * self.process.dsigma(self._warp(t))

    def time(self, lam: NumberT) -> NumberT:
        return self._unwarp(self.process.time(lam))

    def prior(self, key: jax.Array, t: Number, shape: Sequence[int]) -> jax.Array:
        return self.process.prior(key, self._warp(t), shape)
