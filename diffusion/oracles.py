"""Exact denoisers in closed form: Gaussian data, Gaussian mixtures, finite data sets (algorithms.md G1-G3).

They return the kind of array of x: NumPy float64 on the host, JAX arrays on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, constant, namespace, over
from fewstep.diffusion.denoiser import INSTANT, JUMP, ZERO, Cond, Pred
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError

_TINY = 1e-18  # its square is a normal number in float32, so that derivatives are finite


class _Oracle:
    """The base of the oracles.  With s, an oracle returns the jump; oracles without jumps raise UsageError."""

    consistent = True
    classes: Any = 0
    capabilities: frozenset[str] = frozenset({INSTANT})
    levels, attends, null_class = 0, False, True


@register_dataclass
@dataclass(frozen=True)
class Gaussian(_Oracle):
    """Data N(mean, std^2) with independent elements; mean and std broadcast against one image."""

    process: Process = field(metadata={"static": True})
    mean: Number = 0.0
    std: Number = 1.0

    capabilities = frozenset({INSTANT, JUMP, ZERO})

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        """The flow map is Phi(x) = alpha_s mean + sqrt(V_s/V_t) (x - alpha_t mean) with V = alpha^2 std^2 + sigma^2.

        Solved for the pair (x0, eps) with alpha_s x0 + sigma_s eps = Phi(x), with every difference of nearly equal
        numbers divided out; at s = t it is the pair of conditional means.
        """
        xp, process = namespace(x), self.process
        s = t if s is None else s
        (at, st), (as_, ss) = ((process.alpha(over(u, x)), process.sigma(over(u, x))) for u in (t, s))
        v = (at * self.std) ** 2 + st**2
        k = xp.sqrt(((as_ * self.std) ** 2 + ss**2) / v)
        z = (x - at * self.mean) / v
        cross = at * ss + as_ * st
        x0 = self.mean + self.std**2 * cross / xp.maximum(ss + st * k, _TINY) * z
        # The weighted mean of ss / k and st with weights at k and as_; it is st where both weights vanish (alpha = 0).
        weight = xp.maximum(as_, _TINY)
        eps = (at * ss + weight * st) / (at * k + weight) * z
        return Pred(x0, eps, (st * self.std) ** 2 / v + 0 * x)


@register_dataclass
@dataclass(frozen=True)
class Mixture(_Oracle):
    """Data sum_k weights_k N(means_k, stds_k^2); means and stds are (K,) or (K, ...) with the shape of one image.

    The label k < K conditions on component k; label K, the null class, is unconditional.
    """

    process: Process = field(metadata={"static": True})
    means: AnyArray
    stds: AnyArray
    weights: AnyArray

    classes = property(lambda self: len(self.weights))

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        _check_instant(s)
        xp, k = namespace(x), self.classes
        y = x[:, None]
        at, st = self.process.alpha(over(t, y)), self.process.sigma(over(t, y))
        mean, std = (
            xp.reshape(a, (1, k) + ((1,) * (x.ndim - 1) if a.ndim == 1 else a.shape[1:]))
            for a in (xp.asarray(self.means), xp.asarray(self.stds))
        )
        v = (at * std) ** 2 + st**2
        z = (y - at * mean) / v
        density = -0.5 * xp.sum((y - at * mean) * z + xp.log(v), axis=tuple(range(2, y.ndim)))
        logits = density + xp.log(xp.asarray(self.weights))
        r = _responsibilities(xp, logits, cond.label, k, range(k))
        r = xp.reshape(r, (*r.shape, *(1,) * (x.ndim - 1)))
        x0 = xp.sum(r * (mean + at * std**2 * z), axis=1)
        spread = (mean + at * std**2 * z - x0[:, None]) ** 2
        return Pred(x0, xp.sum(r * st * z, axis=1), xp.sum(r * ((st * std) ** 2 / v + spread), axis=1))


@register_dataclass
@dataclass(frozen=True)
class Finite(_Oracle):
    """The uniform distribution on the images (N, ...): the denoiser of a network that memorises its training data.

    A call needs memory for B x N x (image size) numbers.  `labels` (N,) are classes; label = classes is the null class.
    """

    process: Process = field(metadata={"static": True})
    images: AnyArray
    labels: AnyArray | None = None
    classes: int = field(default=0, metadata={"static": True})

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        _check_instant(s)
        xp = namespace(x)
        at, st = self.process.alpha(over(t, x)), self.process.sigma(over(t, x))
        away = x[:, None] - (at if xp.ndim(at) == 0 else at[:, None]) * xp.asarray(self.images)[None]
        distance = xp.sum(away**2, axis=tuple(range(2, away.ndim)))
        squares = distance / (st if xp.ndim(st) == 0 else xp.reshape(st, (-1, 1))) ** 2
        logits = self.process.log_noise(squares, int(np.prod(x.shape[1:])))
        r = _responsibilities(xp, logits, cond.label, self.classes, self.labels)
        flat = xp.reshape(xp.asarray(self.images), (len(self.images), -1))
        x0 = xp.reshape(r @ flat, x.shape)
        scatter = xp.einsum("bn,bnd->bd", r, (flat[None] - xp.reshape(x0, (len(x), 1, -1))) ** 2)
        return Pred(x0, (x - at * x0) / st, xp.reshape(scatter, x.shape))


def _check_instant(s):
    if s is not None:
        raise UsageError("the flow map of these data has no closed form: only Gaussian supports jumps, leave s None")


def _responsibilities(xp, logits, label, classes, labels):
    """(B, K) posterior probabilities of the components; a label below `classes` keeps those of its class only."""
    if classes and label is not None:
        label = xp.asarray(label)[:, None]
        logits = xp.where((label == classes) | (label == xp.asarray(labels)[None]), logits, -xp.inf)
    # The result does not depend on what is subtracted.  The derivative of a maximum divides by the number of elements
    # equal to it, and there is none if the compiler computes the logits twice with different rounding.
    e = xp.exp(logits - constant(xp.max(logits, axis=1, keepdims=True)))
    return e / xp.sum(e, axis=1, keepdims=True)


def gaussian(process: Process, mean: Number = 0.0, std: Number = 1.0) -> Gaussian:
    """Exact denoiser, posterior variance and flow map of N(mean, std^2) data, under Gaussian noise."""
    process.check_gaussian("the exact denoiser of Gaussian data")
    return Gaussian(process, mean, std)


def mixture(
    process: Process,
    means: AnyArray | Sequence[Any],
    stds: AnyArray | Sequence[Any],
    weights: AnyArray | Sequence[float] | None = None,
) -> Mixture:
    """Exact denoiser and posterior variance of a Gaussian mixture, under Gaussian noise; weights are equal by default.

    Raises UsageError unless there are as many stds and weights as means.
    """
    process.check_gaussian("the exact denoiser of a mixture")
    xp = namespace(means)
    mu, std = xp.asarray(means) * 1.0, xp.asarray(stds) * 1.0
    w = xp.ones(len(mu)) if weights is None else xp.asarray(weights) * 1.0
    if not len(mu) == len(std) == len(w):
        raise UsageError(f"a mixture of {len(mu)} means has {len(std)} stds and {len(w)} weights")
    return Mixture(process, mu, std, w / xp.sum(w))


def dataset(process: Process, images: AnyArray, labels: AnyArray | None = None) -> Finite:
    """Exact denoiser and posterior variance of the uniform distribution on a finite set of images (N, ...).

    labels (N,) are concrete, not traced; the number of classes is max(labels) + 1.
    """
    return Finite(process, images, labels, 0 if labels is None else int(np.max(labels)) + 1)
