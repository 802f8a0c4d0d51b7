"""Guidance: extrapolation away from a worse prediction, and its two forms with one network (algorithms.md E3)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond, DenoiserLike, Lever, Pred, Wrapper
from fewstep.diffusion.levers.checks import check_no_memory
from fewstep.diffusion.levers.trained_guidance import TrainedGuidance
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError
from fewstep.ranges import Range, Share, checked

Scale = Annotated[float, Range(-100, 100)]


class Guidance(Wrapper):
    """good + (scale - 1)(good - bad) of two predictions at one state, for x0 and eps alike.

    Subclasses define the two predictions by `pair`, and may override `mix`.
    """

    scale: float

    @property
    def keeps_variance(self) -> bool:
        return False

    def pair(self, x: AnyArray, t: Number, s: Number | None, cond: Cond) -> tuple[Pred, Pred]:
        """(good, bad)."""
        raise NotImplementedError

    def mix(self, good: Pred, bad: Pred, t: Number, cond: Cond) -> Pred:
        """The guided prediction, without var."""
        x0, eps = (g + (self.scale - 1) * (g - b) for g, b in zip(good[:2], bad[:2], strict=True))
        return Pred(x0, eps)

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        good, bad = self.pair(x, t, s, cond)
        return self.mix(good, bad, t, cond)._replace(features=good.features)


class ByClass(Guidance):
    """Guidance of the conditional prediction by the unconditional one, both computed in one call."""

    def pair(self, x: AnyArray, t: Number, s: Number | None, cond: Cond) -> tuple[Pred, Pred]:
        n = x.shape[0]
        null = jnp.full((n,), self.classes, jnp.int32)
        label = null if cond.label is None else cond.label
        both = jax.tree.map(lambda a: jnp.concatenate([a, a]), cond._replace(label=None, memory=()))
        both = both._replace(label=jnp.concatenate([label, null]))
        times = (jnp.concatenate([a, a]) if a is not None and jnp.ndim(a) else a for a in (t, s))
        pred = self.inner(jnp.concatenate([x, x]), *times, both)
        features = None if pred.features is None else pred.features[:n]
        return Pred(pred.x0[:n], pred.eps[:n], features=features), Pred(pred.x0[n:], pred.eps[n:])


@register_dataclass
@dataclass(frozen=True)
class CFG(ByClass):
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598)."""

    inner: Any
    scale: float = 1.0


@register_dataclass
@dataclass(frozen=True)
class CFGpp(ByClass):
    """CFG++: x0 interpolates from the unconditional to the conditional prediction, eps is unconditional (Chung et al.
    2024, arXiv:2406.08070).  A ddim step equals that under CFG of scale strength / (1 - exp(-h)), with h the step in
    half log-SNR."""

    inner: Any
    strength: float = 0.0

    @property
    def consistent(self) -> bool:
        return False

    def mix(self, good: Pred, bad: Pred, t: Number, cond: Cond) -> Pred:
        return Pred(bad.x0 + self.strength * (good.x0 - bad.x0), bad.eps)


@named
@checked
def cfg(scale: Scale) -> Lever:
    """Classifier-free guidance; scale 1 is the conditional model, 0 the unconditional one.  A network that was trained
    with guidance as an input up to this scale gets it, and needs one pass."""
    return partial(_cfg, float(scale))


def _cfg(scale: float, den: DenoiserLike) -> Wrapper:
    if 1 <= scale <= getattr(den, "guided", 0.0):  # a denoiser of a user need not say
        return TrainedGuidance(den, scale)
    return class_guidance("cfg", CFG, den, scale=scale)


@named
@checked
def cfg_pp(strength: Share) -> Lever:
    """CFG++ with a strength in [0, 1], for samplers of the ddim form; 0 is the unconditional model."""
    return partial(class_guidance, "cfg_pp", CFGpp, strength=float(strength))


def class_guidance(name: str, kind: Callable[..., Guidance], den: DenoiserLike, **settings: float) -> Guidance:
    """A guidance by classes around a denoiser; raises UsageError for an unconditional model, and for one without a null
    class."""
    if not den.classes:
        raise UsageError(f"{name} needs a class-conditional model: this one was trained without labels")
    if not getattr(den, "null_class", True):  # a denoiser of a user need not say
        raise UsageError(
            f"{name} needs a model with a null class, and this one was trained on labels alone: guide it away from a "
            f"worse model, autoguidance"
        )
    check_no_memory(name, den)
    return kind(den, **settings)
