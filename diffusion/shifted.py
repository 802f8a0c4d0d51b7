"""The time-shifted version of a process, for larger images."""

from dataclasses import dataclass
from typing import Annotated

from fewstep.diffusion.around import Around
from fewstep.diffusion.arrays import NumberT
from fewstep.ranges import Range, checked


@checked
@dataclass(frozen=True)
class Shifted(Around):
    """Another process with its time warped, t -> shift t / (1 + (shift - 1) t): shift > 1 spends more time at high
    noise.  On the linear path this is lam -> lam - log(shift) (Esser et al. 2024, arXiv:2403.03206).
    """

    shift: Annotated[float, Range(above=0, most=1000)] = 3.0

    def _warp(self, t: NumberT) -> NumberT:
        return self.shift * t / (1 + (self.shift - 1) * t)

    def _unwarp(self, t: NumberT) -> NumberT:
        return t / (self.shift - (self.shift - 1) * t)

    def _slope(self, t: NumberT) -> NumberT:
        return self.shift / (1 + (self.shift - 1) * t) ** 2
