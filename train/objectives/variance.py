"""Training the second output of a network: a second moment for a frozen mean (Bao et al. 2022b, arXiv:2206.07309), or
a learned range of variances together with the mean (Nichol & Dhariwal 2021, arXiv:2102.09672)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Model
from fewstep.diffusion.posterior import divergence, large, posterior
from fewstep.diffusion.variance import NPR, SN, LearnedRange
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range
from fewstep.train.objectives.denoising import Noised, Weighted, noisy, target
from fewstep.train.objectives.times import uniform
from fewstep.train.state import State


@dataclass(frozen=True)
class SecondMoment(Noised):
    """Mean squared error of the second output against the target of SN or NPR; the mean of the network is frozen and
    evaluated without dropout."""

    times: Callable = uniform

    trainable_part, trains_variance = "variance", True

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {}."""
        variance: Any = _checked_variance(model, SN | NPR, "@SN() or @NPR()")
        if self.trainable_part not in params["net"]:
            raise UsageError("this objective trains a part of the network called variance: this network has none")
        net = jax.lax.stop_gradient(params["net"]) | {self.trainable_part: params["net"][self.trainable_part]}
        t, cond = examples.t, Cond(examples.label)
        raw, second = model.outputs(net, noisy(model, examples), t, None, cond)
        goal = variance.target(raw, target(model, examples))
        return jnp.mean((second - goal) ** 2), {}


@dataclass(frozen=True)
class Hybrid(Weighted):
    """Denoising plus `share` times the variational bound, in bits per dimension, of a chain of `steps` equal steps with
    the variances of a LearnedRange; gradients of the bound do not reach the mean.

    Each example is one step from its time t to t - 1 / steps of the interval, or to t / 2 if that is larger.  With
    uniform times the mean over examples is the mean over the steps of the chain.
    """

    times: Callable = uniform
    steps: Annotated[int, Range(1, 100_000)] = 100
    share: Positive = 1e-3

    trains_variance = True

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"bound": the bound over all steps}."""
        variance: Any = _checked_variance(model, LearnedRange, "@LearnedRange()")
        x0, _, t, label, key = examples
        x, process, at = noisy(model, examples), model.process, over(t, x0)
        raw, second = model.outputs(params["net"], x, t, None, Cond(label), key)
        mean, _ = model.prediction.decode(process, at, x, jax.lax.stop_gradient(raw))
        first, last = process.ends
        s = over(jnp.maximum(t - (first - last) / self.steps, t / 2), x0)
        moved, inner = posterior(process, at, s)
        between = variance.predict(process, model.prediction, at, raw, second)["range"]
        var = inner * (large(process, at, moved, inner) / inner) ** between
        bound = self.steps * divergence(moved, inner, var, (x0 - mean) ** 2).mean() / jnp.log(2)
        loss = self.weighted(model, t, (raw - target(model, examples)) ** 2)
        return loss + self.share * bound, {"bound": bound}


def _checked_variance(model, kinds, names):
    if not isinstance(model.variance, kinds):
        raise UsageError(f"this objective trains a second output: set train.variance = {names}")
    return model.variance
