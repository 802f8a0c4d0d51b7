"""Guidance: away from a worse prediction, and its two forms without a second network (algorithms.md E3)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, Pred, Wrapper
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import check_no_memory, finite


class Guidance(Wrapper):
    """good + (scale - 1)(good - bad) of two predictions at one state, on x0 and eps alike.

    Subclasses tell the two by `pair`, and may mix them in another way.
    """

    keeps_variance = False

    def pair(self, x, t, s, cond) -> tuple[Pred, Pred]:
        """(good, bad)."""
        raise NotImplementedError

    def mix(self, good, bad, t, cond) -> Pred:
        """The guided prediction, without var."""
        return Pred(*(g + (self.scale - 1) * (g - b) for g, b in zip(good[:2], bad[:2], strict=True)))

    def __call__(self, x, t, s=None, cond=Cond()):
        return self.mix(*self.pair(x, t, s, cond), t, cond)


class ByClass(Guidance):
    """The prediction for the class, and that for none, both in one call."""

    def pair(self, x, t, s, cond):
        n = x.shape[0]
        null = jnp.full((n,), self.classes, jnp.int32)
        label = null if cond.label is None else cond.label
        both = jax.tree.map(lambda a: jnp.concatenate([a, a]), cond._replace(label=None, memory=()))
        both = both._replace(label=jnp.concatenate([label, null]))
        t, s = (jnp.concatenate([a, a]) if a is not None and jnp.ndim(a) else a for a in (t, s))
        pred = self.inner(jnp.concatenate([x, x]), t, s, both)
        return Pred(pred.x0[:n], pred.eps[:n]), Pred(pred.x0[n:], pred.eps[n:])


@register_dataclass
@dataclass(frozen=True)
class CFG(ByClass):
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598)."""

    inner: Any
    scale: float = 1.0


@register_dataclass
@dataclass(frozen=True)
class CFGpp(ByClass):
    """CFG++: x0 between the prediction for none and that for the class, eps that for none (Chung et al. 2024,
    arXiv:2406.08070): ddim then goes as under CFG of scale strength / (1 - exp(-h)), h the step in log-SNR / 2."""

    inner: Any
    strength: float = 0.0

    consistent = False

    def mix(self, good, bad, t, cond):
        return Pred(bad.x0 + self.strength * (good.x0 - bad.x0), bad.eps)


def cfg(scale):
    """Classifier-free guidance; 1 is the conditional model itself, 0 the unconditional one."""
    finite("cfg", scale=scale)
    return partial(of_classes, "cfg", CFG, scale=float(scale))


def cfg_pp(strength):
    """CFG++ of a strength in [0, 1], for samplers of the ddim form; 0 is the unconditional model itself."""
    finite("cfg_pp", strength=strength)
    if not 0 <= strength <= 1:
        raise UsageError(f"cfg_pp.strength is in [0, 1]: got {strength}")
    return partial(of_classes, "cfg_pp", CFGpp, strength=float(strength))


def of_classes(name, kind, den, **settings):
    """A guidance by classes around a denoiser; UsageError where it knows none."""
    if not den.classes:
        raise UsageError(f"{name} needs a class-conditional model: this one was trained without labels")
    check_no_memory(name, den)
    return kind(den, **settings)
