"""Denoising: regression of the network's linear target at random times (Ho et al. 2020; Lipman et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Model
from fewstep.errors import UsageError
from fewstep.ranges import Share, check_fields
from fewstep.train.objectives.objective import Objective
from fewstep.train.objectives.times import logit_normal
from fewstep.train.objectives.weights import native
from fewstep.train.state import State


@dataclass(frozen=True)
class Noised(Objective):
    """The base of the objectives here: the distribution of times and the label dropout are fields.

    `label_drop` is the fraction of labels replaced by the null class, for classifier-free guidance.  Raises
    UsageError for a subclass that gives a field another value without an annotation, which Python would ignore.
    """

    times: Callable = logit_normal
    label_drop: Share = 0.1

    def __post_init__(self):
        kind = type(self)
        if ignored := [f.name for f in fields(self) if getattr(kind, f.name, f.default) is not f.default]:
            raise UsageError(
                f"{kind.__name__}.{ignored[0]} is a field: annotate it below @dataclass(frozen=True), or pass it"
            )
        check_fields(self)


@dataclass(frozen=True)
class Denoising(Noised):
    """Weighted mean squared error of the network's output against A x0 + B eps."""

    weight: Callable = native

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {}."""
        _, _, t, label, key = examples
        raw, _ = model.outputs(params["net"], noisy(model, examples), t, None, Cond(label), key)
        return self.weighted(model, t, (raw - target(model, examples)) ** 2), {}

    def weighted(self, model: Model, t: Array, errors: Array) -> Array:
        """The mean of squared errors (B, ...), weighted by time."""
        weight = self.weight(model.process, model.prediction, t)
        return jnp.mean(weight * errors.reshape(len(t), -1).mean(axis=1))


def noisy(model: Model, examples: Any) -> Array:
    """x_t of the examples, (B, *shape)."""
    at = over(examples.t, examples.x0)
    return model.process.alpha(at) * examples.x0 + model.process.sigma(at) * examples.eps


def target(model: Model, examples: Any) -> Array:
    """The regression target A x0 + B eps of the examples, (B, *shape)."""
    at = over(examples.t, examples.x0)
    return model.prediction.encode(model.process, at, examples.x0, examples.eps)
