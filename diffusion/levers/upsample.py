"""Images larger than those of training, guided by what the network says of them at its own size (Hwang et al. 2024,
arXiv:2404.01709; algorithms.md E2)."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import pooled, repeated
from fewstep.diffusion.denoiser import Cond, Pred, Under, Wrapper, wrappers
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import check_no_memory, finite
from fewstep.diffusion.levers.interval import switched
from fewstep.diffusion.process import Process


@dataclass(frozen=True)
class Quieter(Process):
    """A process with m times less noise: that of means over m x m pixels."""

    process: Process
    m: int

    ends = property(lambda self: self.process.ends)

    def alpha(self, t):
        return self.process.alpha(t)

    def sigma(self, t):
        return self.process.sigma(t) / self.m

    def lam(self, t):
        return self.process.lam(t) + math.log(self.m)


@register_dataclass
@dataclass(frozen=True)
class UpsampleGuidance(Wrapper):
    """The means of m x m pixels of x0 and eps moved towards what is predicted from those of x, by theta; from t = 1
    down to 1 - eta.

    Averaged, the noise of x is m times less: means of x are a state of the process `Quieter`, and but for a factor one
    of the process itself at the time of m^2 times the signal-to-noise ratio.  x0 and eps move together, so that
    alpha x0 + sigma eps = x still holds.  eta is of t, whatever that is of a process's noise: `interval` is of sigma /
    alpha.
    """

    inner: Any
    m: int = field(metadata={"static": True})
    theta: float = 1.0
    eta: float = 1.0

    keeps_variance = False
    enlarges = property(lambda self: self.m)

    def __call__(self, x, t, s=None, cond=Cond()):
        if x.ndim != 4 or x.shape[1] % self.m or x.shape[2] % self.m:
            raise UsageError(f"upsample_guidance({self.m}) is for images whose sides divide by {self.m}, not {x.shape}")
        pred = self.inner(x, t, s, cond)

        def guided():
            low = Under(self.inner, Quieter(self.process, self.m))(pooled(x, self.m), t, s, cond)
            moved = (low.x0 - pooled(pred.x0, self.m), low.eps / self.m - pooled(pred.eps, self.m))
            return tuple(a + self.theta * repeated(d, self.m) for a, d in zip(pred[:2], moved, strict=True))

        on = jnp.asarray((t > 1 - self.eta) & (self.theta != 0))
        return Pred(*switched(on, guided, lambda: tuple(pred[:2])))


def enlarged(shape, den) -> tuple:
    """The shape of images under levers, of a network trained on `shape`; UsageError where those are no images."""
    factor = math.prod(getattr(wrapper, "enlarges", 1) for wrapper in wrappers(den))
    if factor == 1:
        return tuple(shape)
    if len(shape) != 3:
        raise UsageError(f"upsample_guidance is for images: this model has data of shape {tuple(shape)}")
    return (factor * shape[0], factor * shape[1], shape[2])


def upsample_guidance(m=2, theta=1.0, eta=1.0):
    """Images of m times the sides, with the content of the trained size; theta 0: without guidance."""
    finite("upsample_guidance", m=m, theta=theta, eta=eta)
    if m != int(m) or m < 2:
        raise UsageError(f"upsample_guidance.m is a whole number, at least 2: got {m}")
    if not 0 <= eta <= 1:
        raise UsageError(f"upsample_guidance.eta is in [0, 1]: got {eta}")
    return partial(_guided, int(m), float(theta), float(eta))


def _guided(m, theta, eta, den):
    check_no_memory("upsample_guidance", den)
    return UpsampleGuidance(den, m, theta, eta)
