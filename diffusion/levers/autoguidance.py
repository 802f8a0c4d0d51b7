"""Autoguidance: a model guided by a bad version of itself (Karras et al. 2024, arXiv:2406.02507)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Under, wrappers
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import check_no_memory, finite
from fewstep.diffusion.levers.guidance import Guidance


@register_dataclass
@dataclass(frozen=True)
class Autoguidance(Guidance):
    """Away from a smaller or less trained model, asked for the same class."""

    inner: Any
    bad: Any
    scale: float = 1.0

    consistent = property(lambda self: self.inner.consistent and self.bad.consistent)
    capabilities = property(lambda self: self.inner.capabilities & self.bad.capabilities)

    def pair(self, x, t, s, cond):
        # Factors of skips are of the good network; attention is of the number of tokens.
        asked = cond._replace(skip=None, low=None, backbone=None, memory=())
        asked = asked if self.bad.attends else asked._replace(attention=None)
        return self.inner(x, t, s, cond), self.bad(x, t, s, asked)


def autoguidance(bad, scale):
    """Guidance away from the denoiser `bad`, of as many classes; 1 is the model itself."""
    finite("autoguidance", scale=scale)
    return partial(_guided, bad, float(scale))


def _guided(bad, scale, den):
    if bad.classes != den.classes:
        raise UsageError(f"autoguidance needs a bad model of {den.classes} classes: the one given has {bad.classes}")
    for one in (den, bad):
        check_no_memory("autoguidance", one)
    if any(hasattr(wrapper, "enlarges") for wrapper in wrappers(den)):
        raise UsageError("autoguidance goes inside upsample_guidance, which the bad model needs too: give it before")
    return Autoguidance(den, bad if bad.process == den.process else Under(bad, den.process), scale)
