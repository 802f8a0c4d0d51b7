"""Images larger than in training, guided by the network's prediction at the training size (Hwang et al. 2024,
arXiv:2404.01709; algorithms.md E2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, NumberT, pooled, repeated
from fewstep.diffusion.denoiser import Cond, DenoiserLike, Lever, Pred, Under, Wrapper, wrappers
from fewstep.diffusion.levers.checks import check_no_memory
from fewstep.diffusion.levers.interval import switched
from fewstep.diffusion.naming import named
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, Share, checked


@dataclass(frozen=True)
class Quieter(Process):
    """A process with m times less noise: the process of means over m x m pixels."""

    process: Process
    m: int

    @property
    def ends(self) -> tuple[float, float]:
        return self.process.ends

    def alpha(self, t: NumberT) -> NumberT:
        return self.process.alpha(t)

    def sigma(self, t: NumberT) -> NumberT:
        return self.process.sigma(t) / self.m

    def lam(self, t: NumberT) -> NumberT:
        return self.process.lam(t) + math.log(self.m)


@register_dataclass
@dataclass(frozen=True)
class UpsampleGuidance(Wrapper):
    """Moves the means over m x m pixels of x0 and eps by a share theta towards the prediction from the means of x, for
    t from 1 down to 1 - eta.

    Averaging reduces the noise of x by the factor m: means of x are a state of the process `Quieter`, and up to scale a
    state of the process itself at the time of m^2 times the signal-to-noise ratio.  x0 and eps move together, so that
    alpha x0 + sigma eps = x still holds.  eta is in units of t; `interval` is in units of sigma / alpha.
    """

    inner: Any
    m: int = field(metadata={"static": True})
    theta: float = 1.0
    eta: float = 1.0

    @property
    def keeps_variance(self) -> bool:
        return False

    @property
    def enlarges(self) -> int:
        """The factor of the side lengths."""
        return self.m

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        if x.ndim != 4 or x.shape[1] % self.m or x.shape[2] % self.m:
            raise UsageError(f"upsample_guidance({self.m}) is for images whose sides divide by {self.m}: got {x.shape}")
        pred = self.inner(x, t, s, cond)

        def guided():
            low = Under(self.inner, Quieter(self.process, self.m))(pooled(x, self.m), t, s, cond)
            moved = (low.x0 - pooled(pred.x0, self.m), low.eps / self.m - pooled(pred.eps, self.m))
            return tuple(a + self.theta * repeated(d, self.m) for a, d in zip(pred[:2], moved, strict=True))

        on = jnp.asarray((t > 1 - self.eta) & (self.theta != 0))
        return Pred(*switched(on, guided, lambda: tuple(pred[:2])), features=pred.features)


def enlarged(shape: Sequence[int], den: DenoiserLike) -> tuple[int, ...]:
    """The shape of samples under levers, for a network trained on `shape`; raises UsageError if an upsampling lever is
    applied to data other than images."""
    factor = math.prod(getattr(wrapper, "enlarges", 1) for wrapper in wrappers(den))
    if factor == 1:
        return tuple(shape)
    if len(shape) != 3:
        raise UsageError(f"upsample_guidance is for images: this model has data of shape {tuple(shape)}")
    return (factor * shape[0], factor * shape[1], shape[2])


@named
@checked
def upsample_guidance(
    m: Annotated[int, Range(2, 64)] = 2, theta: Annotated[float, Range(-10, 10)] = 1.0, eta: Share = 1.0
) -> Lever:
    """Images with m times the side lengths, with the content of the training size; theta 0 is without guidance."""
    return partial(_guided, int(m), float(theta), float(eta))


def _guided(m: int, theta: float, eta: float, den: DenoiserLike) -> UpsampleGuidance:
    check_no_memory("upsample_guidance", den)
    return UpsampleGuidance(den, m, theta, eta)
