"""What the second output of a network tells of the variance (Bao et al. 2022b, arXiv:2206.07309; Nichol & Dhariwal
2021, arXiv:2102.09672).

At a fixed x an error of the target F = A x0 + B eps is one of x0 times det / sigma, so that

    Var[x0 | x_t] = (sigma / det)^2 Var[F | x_t].

For a network that predicts eps, det = alpha, and SN and NPR are those of the paper; stated for the network's own target
they stay finite wherever the prediction tells x0 at all, at alpha = 0 too for v, velocity and EDM.
"""

from dataclasses import dataclass

import jax.numpy as jnp


@dataclass(frozen=True)
class Variance:
    """The base of the family."""

    def tell(self, process, prediction, t, raw, second) -> dict:
        """The fields of `Pred` that the outputs (B, ...) for F and for the variance tell; t broadcasts against them."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Moment(Variance):
    """A second moment of F, element by element.  bound: ((b - a) / 2)^2 for data in [a, b], None for none."""

    bound: float | None = 1.0

    def target(self, raw, true):
        """What the second output is trained on, where the first one said `raw` and F was `true`."""
        raise NotImplementedError

    def left_open(self, raw, second):
        """Var[F | x_t]."""
        raise NotImplementedError

    def tell(self, process, prediction, t, raw, second):
        scale = process.sigma(t) / prediction.det(process, t)
        return {"var": jnp.clip(scale**2 * self.left_open(raw, second), 0.0, self.bound)}


@dataclass(frozen=True)
class SN(_Moment):
    """E[F^2 | x_t]: with a perfect mean the variance is what it exceeds the mean's square by."""

    def target(self, raw, true):
        return true**2

    def left_open(self, raw, second):
        return second - raw**2


@dataclass(frozen=True)
class NPR(_Moment):
    """E[(F - F_hat)^2 | x_t], the second moment about the mean that is used: the best for one that is not perfect."""

    def target(self, raw, true):
        return (true - raw) ** 2

    def left_open(self, raw, second):
        return second


@dataclass(frozen=True)
class LearnedRange(Variance):
    """Where the variance of DDPM's step lies between the small (0) and the large one (1), in its logarithm."""

    def tell(self, process, prediction, t, raw, second):
        return {"range": (second + 1) / 2}


VARIANCES = {"SN": SN, "NPR": NPR, "LearnedRange": LearnedRange}
