"""A process that is another one with something changed."""

from dataclasses import dataclass

from fewstep.diffusion.arrays import NumberT
from fewstep.diffusion.process import Linear, Process


@dataclass(frozen=True)
class Around(Process):
    """Another process, at times that a subclass may warp."""

    process: Process = Linear()

    def __post_init__(self) -> None:
        self._require(isinstance(self.process, Process), "a process")

    def _warp(self, t: NumberT) -> NumberT:
        """The time of the process at t."""
        return t

    def _unwarp(self, t: NumberT) -> NumberT:
        """The inverse."""
        return t

    def _slope(self, t: NumberT) -> NumberT | float:
        """The derivative of `_warp`."""
        return 1.0

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

    @property
    def freedom(self) -> float:
        return self.process.freedom

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
