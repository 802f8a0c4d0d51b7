"""Autoguidance: a model guided by a bad version of itself (Karras et al. 2024, arXiv:2406.02507)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond, DenoiserLike, Lever, Pred, Under, wrappers
from fewstep.diffusion.levers.checks import check_no_memory
from fewstep.diffusion.levers.guidance import Guidance, Scale
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError
from fewstep.ranges import checked


@register_dataclass
@dataclass(frozen=True)
class Autoguidance(Guidance):
    """Guidance away from a smaller or less trained model, conditioned on the same class."""

    inner: Any
    bad: Any
    scale: float = 1.0

    @property
    def consistent(self) -> bool:
        return self.inner.consistent and self.bad.consistent

    @property
    def capabilities(self) -> frozenset[str]:
        return self.inner.capabilities & self.bad.capabilities

    def pair(self, x: AnyArray, t: Number, s: Number | None, cond: Cond) -> tuple[Pred, Pred]:
        # Multipliers of skips are for the good network only; attention depends only on the number of tokens.
        bad_cond = cond._replace(skip=None, low=None, backbone=None, guidance=None, memory=())
        bad_cond = bad_cond if self.bad.attends else bad_cond._replace(attention=None)
        return self.inner(x, t, s, cond), self.bad(x, t, s, bad_cond)


@named
@checked
def autoguidance(bad: DenoiserLike, scale: Scale) -> Lever:
    """Guidance away from the denoiser `bad`, with the same number of classes; scale 1 is the model itself."""
    return partial(_guided, bad, float(scale))


def _guided(bad, scale, den):
    if bad.classes != den.classes:
        raise UsageError(f"autoguidance needs a bad model of {den.classes} classes: got one of {bad.classes}")
    for one in (den, bad):
        check_no_memory("autoguidance", one)
    if any(hasattr(wrapper, "enlarges") for wrapper in wrappers(den)):
        raise UsageError("autoguidance goes inside upsample_guidance, which the bad model needs too: apply it before")
    return Autoguidance(den, bad if bad.process == den.process else Under(bad, den.process), scale)
