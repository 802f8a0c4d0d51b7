"""Levers that only change the conditioning of the network."""

from jax import Array

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond, Pred, Wrapper


class ConditioningLever(Wrapper):
    """Calls the inner denoiser with another Cond, defined by `conditioning` in subclasses."""

    def conditioning(self, cond: Cond, count: int, on: bool | Array = True) -> Cond:
        """The Cond for `count` images, where `on` is a boolean or one per image (count,); neutral where it is False."""
        raise NotImplementedError

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        return self.inner(x, t, s, self.conditioning(cond, len(x)))
