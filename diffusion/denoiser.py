"""The interface between samplers, levers and networks: den(x, t, s, cond) -> Pred."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, check_output, namespace, over
from fewstep.diffusion.prediction import Prediction
from fewstep.diffusion.process import Process
from fewstep.diffusion.variance import Variance
from fewstep.errors import UsageError

INSTANT, JUMP, ZERO = "instant", "jump", "zero"
CAPABILITY_NAMES = {INSTANT: "velocities at an instant", JUMP: "jumps to any time", ZERO: "jumps to the data"}


def names_of(capabilities: Iterable[str]) -> str:
    """Returns capabilities in words, such as "velocities at an instant and jumps to any time"."""
    return " and ".join(CAPABILITY_NAMES[capability] for capability in sorted(capabilities))


class Pred(NamedTuple):
    """The prediction at (x, t).  alpha_t x0 + sigma_t eps = x, so predictions at one (x, t) mix linearly.

    At an instant (s None or s = t) x0 and eps are the conditional means.  For a jump t -> s they are the pair that
    satisfies alpha_s x0 + sigma_s eps = Phi_{t->s}(x), with Phi the flow map.
    """

    x0: Array  # (B, ...)
    eps: Array  # (B, ...)
    var: Array | None = None  # Var[x0 | x_t] per element, (B, ...) or broadcastable to it; None: not estimated
    range: Array | None = None  # of a LearnedRange: position between DDPM's small (0) and large (1) variance, (B, ...)
    memory: tuple = ()  # state of a lever, passed back to it in Cond.memory at the next row
    features: Array | None = None  # of the middle of the network, (B, F), for samplers that learn from them


class Cond(NamedTuple):
    """The conditioning of the network besides (x, t, s); every field has a leading batch axis."""

    label: AnyArray | None = None  # (B,) int32; the null class is a value (the number of classes), not None
    skip: Array | None = None  # (B, levels) multipliers of U-Net skips, innermost level first
    low: Array | None = None  # (B, levels) multipliers of the lowest frequencies of the skips
    backbone: Array | None = None  # (B, levels) multipliers of the first half of the channels that meet the skips
    guidance: Array | None = None  # (B, 3) scale of guidance, and the first and last time t between which it applies
    attention: Array | None = None  # (B,) powers of log(tokens) / log(tokens in training), which multiplies logits
    text: Array | None = None  # reserved: (B, L, D) tokens
    memory: tuple = ()  # Pred.memory of the previous row
    key: Array | None = None  # (B,) PRNG keys of the images at this row, for levers that draw


class DenoiserLike(Protocol):
    """The interface of every denoiser: a `Denoiser`, a lever around one (`Wrapper`), or an oracle (oracles.py)."""

    @property
    def process(self) -> Process:
        """The forward process whose states it denoises."""
        ...

    @property
    def classes(self) -> int:
        """The number of classes, 0 for an unconditional model."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """A subset of {"instant", "jump", "zero"}."""
        ...

    @property
    def levels(self) -> int:
        """The number of levels of skip connections, 0 without a U-Net."""
        ...

    @property
    def attends(self) -> bool:
        """Whether the network has attention layers."""
        ...

    @property
    def consistent(self) -> bool:
        """Whether alpha x0 + sigma eps = x holds for its predictions."""
        ...

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        """The prediction at x (B, ...) and t; t and s are numbers or (B,)."""
        ...


Lever = Callable[[DenoiserLike], DenoiserLike]


@dataclass(frozen=True, repr=False)
class Model:
    """The static part of a denoiser.  Hashable, and equal for equal networks, so it never causes a recompilation.

    network(params, x, t, d, cond, key) returns the raw output; `d` is t - s for networks that learned jumps, else None.
    With `variance` the output has twice the channels: the second half predicts the variance.
    `capabilities` is what it learned, a subset of {"instant", "jump", "zero"} ("zero": jumps to s = 0, without `d`).
    `classes` is the number of classes, 0 for an unconditional network; label = classes is the null class.
    `levels` is the number of levels of U-Net skips, 0 for a network without; `attends`: it uses Cond.attention.
    `null_class`: False for a network that was trained on labels alone.
    `guided` is the largest scale of guidance that the network was trained to use as an input, Cond.guidance; 0: none.
    `calls` is the number of calls that it was trained to draw in; None: any.
    """

    network: Callable[..., Array]
    process: Process
    prediction: Prediction
    classes: int = 0
    capabilities: frozenset[str] = frozenset({INSTANT})
    variance: Variance | None = None
    levels: int = 0
    attends: bool = False
    null_class: bool = True
    guided: float = 0.0
    calls: int | None = None

    def __repr__(self) -> str:
        """The same in every Python process, because digests hash it: capabilities are sorted, as sets have no order."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"capabilities": sorted(self.capabilities)}
        for name, default in {"null_class": True, "guided": 0.0, "calls": None}.items():
            if values[name] == default:  # digests of before this field existed still hold
                del values[name]
        return f"Model({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def outputs(
        self, params: Any, x: AnyArray, t: Number, d: Number | None = None, cond: Cond = Cond(),
        key: Array | None = None,
    ) -> tuple[Array, Array | None]:  # fmt: skip
        """The raw outputs for the mean and for the variance (or None), (B, ...) each, cast to the dtype of x.

        Raises UsageError, while JAX traces, for a network that returns another shape.
        """
        return self.with_features(params, x, t, d, cond, key)[:2]

    def with_features(
        self, params: Any, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: Array | None
    ) -> tuple[Array, Array | None, Array | None]:
        """`outputs`, and the features of the network (B, F), or None."""
        scaled = self.prediction.input_scale(self.process, over(t, x)) * x
        told = params, scaled, self.prediction.clock(self.process, t), d, cond, key
        whole = getattr(self.network, "with_features", None)
        raw, features = (self.network(*told), None) if whole is None else whole(*told)
        check_output(raw, x.shape, x.shape if self.variance is None else (*x.shape[:-1], 2 * x.shape[-1]))
        if self.variance is None:
            return raw.astype(x.dtype), None, features
        mean, var = jnp.split(raw.astype(x.dtype), 2, axis=-1)
        return mean, var, features

    def denoiser(self, params: Any) -> "Denoiser":
        """This model with parameters."""
        return Denoiser(params, self)


def _forwarded(*paths: str) -> Any:
    """Properties: attributes of an attribute, "model.process"."""
    return map(property, map(attrgetter, paths))


@register_dataclass
@dataclass(frozen=True)
class Denoiser:
    """A network with its parameters.  A pytree: parameters are leaves, the model is static."""

    params: Any
    model: Model = field(metadata={"static": True})

    consistent = True

    process, classes, capabilities, calls = _forwarded(
        "model.process", "model.classes", "model.capabilities", "model.calls"
    )
    levels, attends, null_class, guided = _forwarded(
        "model.levels", "model.attends", "model.null_class", "model.guided"
    )

    @classmethod
    def from_function(
        cls, fn: Callable[..., Array], params: Any, process: Process, prediction: Prediction, **options: Any
    ) -> "Denoiser":
        """A JAX function fn(params, x, t, d, cond, key) -> raw output as a denoiser; options are fields of `Model`."""
        return cls(params, Model(fn, process, prediction, **options))

    def __call__(
        self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond(), key: Array | None = None
    ) -> Pred:
        """The prediction at x (B, ...) and t; t and s are numbers or (B,)."""
        d = (t - (t if s is None else s)) if JUMP in self.capabilities else None
        at, process, prediction = over(t, x), self.process, self.model.prediction
        raw, raw_var, features = self.model.with_features(self.params, x, t, d, cond, key)
        pred = Pred(*prediction.decode(process, at, x, raw), features=features)
        if self.model.variance is None or raw_var is None:
            return pred
        return pred._replace(**self.model.variance.predict(process, prediction, at, raw, raw_var))

    def under(self, process: Process) -> "Under":
        """This denoiser for states of another process."""
        return _moved(self, process)


class Wrapper:
    """The base of denoisers around another one, which subclasses hold as `inner`: attributes are those of `inner`."""

    inner: Any

    process, classes, capabilities, calls, consistent = _forwarded(
        "inner.process", "inner.classes", "inner.capabilities", "inner.calls", "inner.consistent"
    )
    levels, attends, null_class, guided = _forwarded(
        "inner.levels", "inner.attends", "inner.null_class", "inner.guided"
    )

    @property
    def without(self) -> Any:
        """The denoiser without this lever."""
        return self.inner

    @property
    def keeps_variance(self) -> bool:
        """Whether var and range of `inner` are still returned."""
        return True

    def under(self, process: Process) -> "Under":
        """This denoiser for states of another process."""
        return _moved(self, process)

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        """The prediction at x (B, ...) and t; t and s are numbers or (B,)."""
        raise NotImplementedError

    def with_x0(self, pred: Pred, x0: Array, t: Number) -> Pred:
        """Returns pred at t with another x0, and eps changed so that alpha x0 + sigma eps = x still holds.

        Only the difference in x0 is carried over to eps: where x0 is unchanged, eps is unchanged bit for bit.  eps is
        kept if `inner` is not consistent.
        """
        if not self.inner.consistent:
            return pred._replace(x0=x0)
        alpha, sigma = self.process.alpha(over(t, x0)), self.process.sigma(over(t, x0))
        return pred._replace(x0=x0, eps=pred.eps + alpha * (pred.x0 - x0) / sigma)


def wrappers(den: Any) -> list[Any]:
    """The wrappers around a network or an oracle, outermost first."""
    return [den, *wrappers(den.inner)] if hasattr(den, "inner") else []


@register_dataclass
@dataclass(frozen=True)
class Under(Wrapper):
    """A denoiser trained under one process, used on states of another with the same log-SNR (algorithms.md 0.4).

    x_P = (alpha_P / alpha_Q) x_Q at the time t_P of equal log-SNR.  Noise levels outside the trained range are clipped
    to it.  The pair (x0, eps) is then moved by the smallest amount that restores alpha x0 + sigma eps = x, unless a
    lever inside breaks that relation on purpose.
    """

    inner: Any
    outer: Process = field(metadata={"static": True})

    @property
    def process(self) -> Process:
        return self.outer

    def inner_time(self, t: Number) -> Any:
        """The time of equal log-SNR in the inner process, clipped to its ends."""
        ends = [self.inner.process.lam(end) for end in self.inner.process.ends]
        return self.inner.process.time(namespace(t).clip(self.process.lam(t), *ends))

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        time = self.inner_time(t)
        alpha, sigma = self.process.alpha(over(t, x)), self.process.sigma(over(t, x))
        # The scale is alpha_P / alpha_Q = sigma_P / sigma_Q, as a ratio of sums that are never zero.
        inner_t = over(time, x)
        scale = (self.inner.process.alpha(inner_t) + self.inner.process.sigma(inner_t)) / (alpha + sigma)
        pred = self.inner(scale * x, time, None if s is None else self.inner_time(s), cond)
        if not self.consistent:
            return pred
        missing = (x - alpha * pred.x0 - sigma * pred.eps) / (alpha**2 + sigma**2)
        return pred._replace(x0=pred.x0 + alpha * missing, eps=pred.eps + sigma * missing)


def _moved(den: DenoiserLike, process: Process) -> Under:
    """The denoiser for states of another process; UsageError for one with other noise."""
    if process.freedom != den.process.freedom:
        raise UsageError(f"{process} has other noise than {den.process}, on which this model was trained")
    return Under(den, process)
