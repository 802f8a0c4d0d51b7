"""Autoguidance: a model guided by a bad version of itself (Karras et al. 2024, arXiv:2406.02507)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from jax.tree_util import register_dataclass

from diffusion.denoiser import Cond, Under
from diffusion.levers.checks import finite, refuse_memory
from diffusion.levers.guidance import Guidance


@register_dataclass
@dataclass(frozen=True)
class Autoguidance(Guidance):
    """Away from a smaller or less trained model, asked for the same class."""

    inner: Any
    bad: Any
    scale: float = 1.0

    consistent = property(lambda self: self.inner.consistent and self.bad.consistent)
    answers = property(lambda self: self.inner.answers & self.bad.answers)

    def pair(self, x, t, s, cond):
        asked = Cond(cond.label)  # skips and the like are of the good network
        return self.inner(x, t, s, cond), self.bad(x, t, s, asked)


def autoguidance(bad, scale):
    """Guidance away from the denoiser `bad`, of as many classes; 1 is the model itself."""
    finite("autoguidance", scale=scale)
    return partial(_guided, bad, float(scale))


def _guided(bad, scale, den):
    if bad.classes != den.classes:
        raise ValueError(f"autoguidance needs a bad model of {den.classes} classes: the one given has {bad.classes}")
    refuse_memory("autoguidance", den)
    return Autoguidance(den, bad if bad.process == den.process else Under(bad, den.process), scale)
