"""Variances predicted by the second output of a network (Bao et al. 2022b, arXiv:2206.07309; Nichol & Dhariwal 2021,
arXiv:2102.09672).

At a fixed x an error of the target F = A x0 + B eps is one of x0 times det / sigma, so that

    Var[x0 | x_t] = (sigma / det)^2 Var[F | x_t].

For a network that predicts eps, det = alpha, and SN and NPR are those of the paper.  Stated for the network's own
target they stay finite wherever the prediction determines x0: for v, velocity and EDM also at alpha = 0.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import Number
from fewstep.diffusion.prediction import Prediction
from fewstep.diffusion.process import Process
from fewstep.ranges import Positive, checked


@dataclass(frozen=True)
class Variance:
    """The base class."""

    def predict(
        self, process: Process, prediction: Prediction, t: Number, raw: Array, raw_var: Array
    ) -> dict[str, Array]:
        """The variance fields of `Pred`, from the raw outputs (B, ...) for F and for the variance; t broadcasts against
        them."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Moment(Variance):
    """A second moment of F per element.  bound: ((b - a) / 2)^2 for data in [a, b], None for no bound."""

    bound: Positive | None = 1.0

    def target(self, raw: Any, true: Any) -> Any:
        """The training target of the second output, if the first output is `raw` and F is `true`."""
        raise NotImplementedError

    def target_variance(self, raw: Array, raw_var: Array) -> Array:
        """Var[F | x_t]."""
        raise NotImplementedError

    def predict(
        self, process: Process, prediction: Prediction, t: Number, raw: Array, raw_var: Array
    ) -> dict[str, Array]:
        scale = process.sigma(t) / prediction.det(process, t)
        return {"var": jnp.clip(scale**2 * self.target_variance(raw, raw_var), 0.0, self.bound)}


@checked
@dataclass(frozen=True)
class SN(_Moment):
    """E[F^2 | x_t]; with a perfect mean the variance is E[F^2 | x_t] - E[F | x_t]^2."""

    def target(self, raw: Any, true: Any) -> Any:
        return true**2

    def target_variance(self, raw: Array, raw_var: Array) -> Array:
        return raw_var - raw**2


@checked
@dataclass(frozen=True)
class NPR(_Moment):
    """E[(F - F_hat)^2 | x_t], the second moment about the predicted mean: optimal also for an imperfect mean."""

    def target(self, raw: Any, true: Any) -> Any:
        return (true - raw) ** 2

    def target_variance(self, raw: Array, raw_var: Array) -> Array:
        return raw_var


@dataclass(frozen=True)
class LearnedRange(Variance):
    """The variance of DDPM's step as an interpolation, in its logarithm, between the small (0) and large (1) one."""

    def predict(
        self, process: Process, prediction: Prediction, t: Number, raw: Array, raw_var: Array
    ) -> dict[str, Array]:
        return {"range": (raw_var + 1) / 2}


@dataclass(frozen=True)
class Auxiliary(Variance):
    """A second output that objectives train and use, and sampling does not."""

    def predict(
        self, process: Process, prediction: Prediction, t: Number, raw: Array, raw_var: Array
    ) -> dict[str, Array]:
        return {}


VARIANCES = {"SN": SN, "NPR": NPR, "LearnedRange": LearnedRange}
