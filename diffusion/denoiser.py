"""The one type that samplers, levers and networks meet in: den(x, t, s, cond) -> Pred."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import namespace, over
from fewstep.diffusion.prediction import Prediction
from fewstep.diffusion.process import Process
from fewstep.diffusion.variance import Variance

INSTANT, JUMP, ZERO = "instant", "jump", "zero"
CAPABILITY_NAMES = {INSTANT: "velocities at an instant", JUMP: "jumps to any time", ZERO: "jumps to the data"}


def names_of(capabilities) -> str:
    """Capabilities in words, such as "velocities at an instant and jumps to any time"."""
    return " and ".join(CAPABILITY_NAMES[capability] for capability in sorted(capabilities))


class Pred(NamedTuple):
    """What is believed at (x, t).  alpha_t x0 + sigma_t eps = x, so predictions at one (x, t) mix linearly.

    At an instant (s None or s = t) x0 and eps are the conditional means.  For a jump t -> s they are the pair for which
    alpha_s x0 + sigma_s eps is the point where the flow map Phi_{t->s}(x) lands.
    """

    x0: Array  # (B, ...)
    eps: Array  # (B, ...)
    var: Array | None = None  # Var[x0 | x_t] per element, (B, ...) or broadcastable to it; None: nothing estimates it
    range: Array | None = None  # where between DDPM's small (0) and large (1) variance, (B, ...), of a LearnedRange
    memory: tuple = ()  # what a lever wants to see again at the next row


class Cond(NamedTuple):
    """Everything the network is told besides (x, t, s); every field has a leading batch axis."""

    label: Array | None = None  # (B,) int32; the null class is a value (the number of classes), not None
    skip: Array | None = None  # (B, levels) multipliers of U-Net skips, innermost level first
    low: Array | None = None  # (B, levels) multipliers of the lowest frequencies of the skips
    backbone: Array | None = None  # (B, levels) multipliers of the first half of the channels that meet the skips
    attention: Array | None = None  # (B,) powers of log(tokens) / log(tokens in training), which multiplies logits
    text: Array | None = None  # reserved: (B, L, D) tokens
    memory: tuple = ()  # Pred.memory of the row before


@dataclass(frozen=True, repr=False)
class Model:
    """The static part of a denoiser: hashable, and equal for equal networks, so that it never causes a recompilation.

    network(params, x, t, d, cond, key) -> raw output; `d` is t - s for networks that learned jumps, else None.  With
    `variance` it has twice the channels: the second half predicts the variance.
    `capabilities` is what the network learned, a subset of {"instant", "jump", "zero"} ("zero": jumps to s = 0 alone,
    which need no `d`).
    `classes` is the number of classes, 0 for an unconditional network; label = classes is the null class.
    `levels` are those of a U-Net's skips, 0 for a network without; `attends`: it hears Cond.attention.
    """

    network: Callable
    process: Process
    prediction: Prediction
    classes: int = 0
    capabilities: frozenset = frozenset({INSTANT})
    variance: Variance | None = None
    levels: int = 0
    attends: bool = False

    def __repr__(self):
        """The same in every process: digests are of it, and sets have no order."""
        told = {f.name: getattr(self, f.name) for f in fields(self)} | {"capabilities": sorted(self.capabilities)}
        return f"Model({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def outputs(self, params, x, t, d=None, cond=Cond(), key=None) -> tuple[Array, Array | None]:
        """The raw outputs for the mean and for the variance (or None), (B, ...) each, cast up to x's type."""
        scaled = self.prediction.input_scale(self.process, over(t, x)) * x
        raw = self.network(params, scaled, self.prediction.clock(self.process, t), d, cond, key).astype(x.dtype)
        return (raw, None) if self.variance is None else tuple(jnp.split(raw, 2, axis=-1))

    def denoiser(self, params) -> "Denoiser":
        return Denoiser(params, self)


@register_dataclass
@dataclass(frozen=True)
class Denoiser:
    """A network bound to its parameters.  A pytree: parameters are leaves, the model is static."""

    params: Any
    model: Model = field(metadata={"static": True})

    consistent = True
    process = property(lambda self: self.model.process)
    classes = property(lambda self: self.model.classes)
    capabilities = property(lambda self: self.model.capabilities)
    levels = property(lambda self: self.model.levels)
    attends = property(lambda self: self.model.attends)

    @classmethod
    def from_function(cls, fn, params, process, prediction, **options) -> "Denoiser":
        """Any JAX function fn(params, x, t, d, cond, key) -> raw output as a denoiser; options as of `Model`."""
        return cls(params, Model(fn, process, prediction, **options))

    def __call__(self, x, t, s=None, cond=Cond(), key=None) -> Pred:
        """x (B, ...); t and s numbers or (B,)."""
        d = (t - (t if s is None else s)) if JUMP in self.capabilities else None
        at, process, prediction = over(t, x), self.process, self.model.prediction
        raw, second = self.model.outputs(self.params, x, t, d, cond, key)
        pred = Pred(*prediction.decode(process, at, x, raw))
        if second is None:
            return pred
        return pred._replace(**self.model.variance.tell(process, prediction, at, raw, second))

    def under(self, process) -> "Under":
        """This denoiser for states of another process."""
        return Under(self, process)


class Wrapper:
    """What a denoiser around another one takes over from it; subclasses hold it as `inner`."""

    process = property(lambda self: self.inner.process)
    classes = property(lambda self: self.inner.classes)
    capabilities = property(lambda self: self.inner.capabilities)
    levels = property(lambda self: self.inner.levels)
    attends = property(lambda self: self.inner.attends)
    consistent = property(lambda self: self.inner.consistent)
    without = property(lambda self: self.inner, doc="The denoiser without this lever.")
    keeps_variance = True  # var and range of what is inside are still told

    def under(self, process) -> "Under":
        """This denoiser for states of another process."""
        return Under(self, process)

    def with_x0(self, pred, x0, t) -> Pred:
        """pred at t with another x0, and with the eps that belongs to it.

        eps moves by exactly what x0 gave up: elements that stay keep theirs bit for bit.  Where the pair inside does
        not belong together, on purpose, eps stays.
        """
        if not self.inner.consistent:
            return pred._replace(x0=x0)
        alpha, sigma = self.process.alpha(over(t, x0)), self.process.sigma(over(t, x0))
        return pred._replace(x0=x0, eps=pred.eps + alpha * (pred.x0 - x0) / sigma)


def wrappers(den) -> list:
    """The denoisers around a network or an oracle, outermost first, without it."""
    return [den, *wrappers(den.inner)] if hasattr(den, "inner") else []


@register_dataclass
@dataclass(frozen=True)
class Under(Wrapper):
    """A denoiser trained under one process, asked about states of another with the same log-SNR (algorithms.md 0.4).

    x_P = (alpha_P / alpha_Q) x_Q at the time t_P of equal log-SNR.  Noise levels outside the trained range are answered
    at its ends, and the pair is then moved by the least amount that restores alpha x0 + sigma eps = x, except where a
    lever inside parts it on purpose.
    """

    inner: Any
    outer: Process = field(metadata={"static": True})

    process = property(lambda self: self.outer)

    def inner_time(self, t):
        """The time of equal log-SNR in the inner process, within its ends."""
        ends = [self.inner.process.lam(end) for end in self.inner.process.ends]
        return self.inner.process.time(namespace(t).clip(self.process.lam(t), *ends))

    def __call__(self, x, t, s=None, cond=Cond()) -> Pred:
        time = self.inner_time(t)
        alpha, sigma = self.process.alpha(over(t, x)), self.process.sigma(over(t, x))
        # alpha_P / alpha_Q = sigma_P / sigma_Q, and the sums are never zero.
        there = over(time, x)
        scale = (self.inner.process.alpha(there) + self.inner.process.sigma(there)) / (alpha + sigma)
        pred = self.inner(scale * x, time, None if s is None else self.inner_time(s), cond)
        if not self.consistent:
            return pred
        missing = (x - alpha * pred.x0 - sigma * pred.eps) / (alpha**2 + sigma**2)
        return pred._replace(x0=pred.x0 + alpha * missing, eps=pred.eps + sigma * missing)


def predict_shape(den, x, t, s=None, cond=Cond()) -> Pred:
    """The shapes of den's answer, without computing it."""
    return jax.eval_shape(lambda den, x, t, s, cond: den(x, t, s, cond), den, x, t, s, cond)
