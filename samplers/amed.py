"""AMED (Zhou et al. 2023, arXiv:2312.00094): steps of two calls, the second at a noise level that a small network
chooses for each image.

In y = x / alpha and rho = sigma / alpha the probability-flow ODE is dy/drho = eps.  Trajectories are nearly plane, so
that by the mean value theorem the slope at some point on the way makes one long step almost exact.  A step t -> s is

    rho_m = rho_s^r rho_t^(1 - r)              y_m = y_t + (rho_m - rho_t) eps_t
    d = (y_m - D(y_m at a rho_m)) / rho_m      y_s = y_t + c (rho_s - rho_t) d

with r, c and a by the predictor; r = 1/2, c = a = 1 is DPM-Solver-2.  The rows of a table have one time for all images:
here a row asks for a jump t -> s, and `MeanDirection`, a denoiser, chooses where to call the model for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, over
from fewstep.diffusion.denoiser import JUMP, Cond, DenoiserLike, Lever, Pred, Wrapper
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers import first_step
from fewstep.samplers.adams import equal_weights
from fewstep.samplers.predictor import Predictor
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

FORMS = ("amed", "dpm_solver_2", "ipndm")
POINTS = 4  # of ipndm
ADAMS = np.stack([np.pad(equal_weights(n), (0, POINTS - n)) for n in range(1, POINTS + 1)])  # by earlier slopes


def amed(process: Process, grid: np.ndarray, first: str = "network") -> Iterable[Row]:
    """Rows for a denoiser under `mean_direction`: 2 calls per step, and 1 where the half log-SNR is infinite (from
    alpha = 0, to sigma = 0), as in `dpm_solver_2`.

    first: "network", or "analytic" for no first call (first_step.py); the predictor sees no features in its step.
    """
    return first_step.start(_rows(process, grid), process, first)


def _rows(process: Process, grid: np.ndarray) -> Iterator[Row]:
    for t, s in steps(grid):
        alpha, sigma = process.alpha(s), process.sigma(s)
        if process.alpha(t) == 0 or sigma == 0:
            yield Row(t, s=t, x0=alpha, eps=sigma)
        else:
            yield Row(t, s=t, x=1.0)
            yield Row(t, s=s, x0=alpha, eps=sigma)


class _Memory(NamedTuple):
    """The last call at an instant, and the slopes before it."""

    t: Array  # (B,), 0 before any
    x0: Array  # (B, ...) its prediction
    eps: Array
    features: Array  # (B, F)
    before: Array  # (B, POINTS - 1, ...) of ipndm, newest first; (B, 0, ...) of other forms
    slopes: Array  # (B,) how many there have been


@register_dataclass
@dataclass(frozen=True)
class MeanDirection(Wrapper):
    """A denoiser whose jump t -> s is a step of AMED, by the second of its two calls.  The first one is at the instant
    t; without it, as after an analytical first step, its prediction is the analytical one."""

    inner: Any
    predictor: Predictor
    form: str = field(default="amed", metadata={"static": True})

    remembers = True

    @property
    def capabilities(self) -> frozenset[str]:
        return self.inner.capabilities | {JUMP}

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        x = jnp.asarray(x)
        memory, inside = cond.memory or (self._empty(x), ())
        cond = cond._replace(memory=inside)
        if s is None:
            pred = self.inner(x, t, None, cond)
            return pred._replace(memory=(memory, pred.memory))
        t, s = (jnp.broadcast_to(jnp.asarray(at, x.dtype), (len(x),)) for at in (t, s))
        jumps = s != t

        def either(jump: Array, instant: AnyArray) -> Array:
            return jnp.where(over(jumps, jump), jump, instant)

        # An instant gets any finite ends of a step, because infinite ones would have no gradients.
        ends = [either(at, end) for at, end in zip((t, s), self.process.snr_ends, strict=True)]
        known = self._known(memory, x, ends[0])
        way = self._way(known, x, *ends)
        pred = self.inner(either(way.state, x), either(way.t, t), None, cond)
        slope = (way.y - pred.x0) / way.rho
        mean = self._mean(known, way, slope)
        x0 = known.x0 + way.rho_t * (known.eps - mean)
        instant = memory._replace(t=t, x0=pred.x0, eps=pred.eps, features=self._features(pred))
        kept = _Memory(*map(either, _pushed(slope, _pushed(known.eps, memory)), instant))
        return pred._replace(x0=either(x0, pred.x0), eps=either(mean, pred.eps), memory=(kept, pred.memory))

    def _empty(self, x: Array) -> _Memory:
        """The memory before any call."""
        batch, nothing = len(x), jnp.zeros_like(x)
        before = jnp.zeros((batch, POINTS - 1 if self.form == "ipndm" else 0, *x.shape[1:]), x.dtype)
        times, count = jnp.zeros(batch, x.dtype), jnp.zeros(batch, jnp.int32)
        return _Memory(times, nothing, nothing, self._features(Pred(nothing, nothing)), before, count)

    def _features(self, pred: Pred) -> Array:
        """Those of a prediction that the predictor takes, zero if there are none."""
        wanted = len(self.predictor.hidden)
        if pred.features is None or not wanted:
            return jnp.zeros((len(pred.x0), wanted), jnp.float32)
        if pred.features.shape[1] != wanted:
            raise UsageError(
                f"the predictor was trained with {wanted} features, and this model has {pred.features.shape[1]}: train "
                f"one for it"
            )
        return pred.features

    def _known(self, memory: _Memory, x: Array, t: Array) -> _Memory:
        """The memory of the call at x and t; analytical, without features, if there was none."""
        called = memory.t == t
        x0, eps = (over(part, x) * x for part in first_step.guess(self.process, t))
        found = memory.x0, memory.eps, memory.features
        other = x0, eps, jnp.zeros_like(memory.features)
        x0, eps, features = (jnp.where(over(called, a), a, b) for a, b in zip(found, other, strict=True))
        return memory._replace(x0=x0, eps=eps, features=features)

    def _way(self, known: _Memory, x: Array, t: Array, s: Array) -> "_Way":
        """The second call of the step."""
        process = self.process
        lam_t, lam_s = process.lam(t), process.lam(s)
        r, c, a = self.predictor(known.features, lam_t, lam_s)
        lam = (1 - r) * lam_t + r * lam_s
        rho_t, rho, rho_s = (over(jnp.exp(-one), x) for one in (lam_t, lam, lam_s))
        slope = self._slope(known.eps, known)
        y = known.x0 + rho_t * (known.eps - slope) + rho * slope
        at = process.time(jnp.clip(lam - jnp.log(a), *(process.lam(end) for end in process.snr_ends)))
        return _Way(at, over(process.alpha(at), x) * y, y, rho_t, rho, rho_s, over(r, x), over(c, x))

    def _mean(self, known: _Memory, way: "_Way", slope: Array) -> Array:
        """The mean slope of the step, by the slopes of both calls."""
        if self.form == "amed":
            return way.c * slope
        if self.form == "dpm_solver_2":
            return way.c * (known.eps + (slope - known.eps) / (2 * way.r))
        share = (way.rho - way.rho_t) / (way.rho_s - way.rho_t)
        first, second = self._slope(known.eps, known), self._slope(slope, _pushed(known.eps, known))
        return share * first + (1 - share) * way.c * second

    def _slope(self, new: Array, memory: _Memory) -> Array:
        """The slope from a call on: of ipndm with those before it."""
        if self.form != "ipndm":
            return new
        weights = jnp.asarray(ADAMS, new.dtype)[jnp.minimum(memory.slopes, POINTS - 1)]
        terms = [over(weights[:, j], new) * one for j, one in enumerate((new, *jnp.moveaxis(memory.before, 1, 0)))]
        return reduce(jnp.add, terms)


class _Way(NamedTuple):
    """The second call of a step: its time (B,), its state in x and in y (B, ...), the levels of the step, r and c."""

    t: Array
    state: Array
    y: Array
    rho_t: Array
    rho: Array
    rho_s: Array
    r: Array
    c: Array


def _pushed(slope: Array, memory: _Memory) -> _Memory:
    """The memory with one more slope."""
    before = jnp.concatenate([slope[:, None], memory.before], 1)[:, : memory.before.shape[1]]
    return memory._replace(before=before, slopes=memory.slopes + 1)


def mean_direction(predictor: Predictor, form: str = "amed") -> Lever:
    """The denoiser of `amed`'s rows.

    form: "amed", or a sampler with one more call in each step, at rho_m: "dpm_solver_2", whose mean slope is
    (1 - 1 / 2r) eps_t + d / 2r, of second order for every r; "ipndm", in two steps t -> m -> s.  c multiplies the mean
    slope of the step, of ipndm that of the second one alone.
    """
    if form not in FORMS:
        raise UsageError(f"AMED's form is one of {', '.join(FORMS)}: got {form!r}")
    return partial(_directed, predictor, form)


def _directed(predictor: Predictor, form: str, den: DenoiserLike) -> MeanDirection:
    return MeanDirection(den, predictor, form)
