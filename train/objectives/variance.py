"""Training the second output of a network: a second moment beside a mean that stays as it is (Bao et al. 2022b,
arXiv:2206.07309), or a range of variances together with the mean (Nichol & Dhariwal 2021, arXiv:2102.09672)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.posterior import divergence, large, posterior
from fewstep.diffusion.variance import NPR, SN, LearnedRange
from fewstep.train.objectives.denoising import Denoising, Noised, noisy, target
from fewstep.train.objectives.times import uniform


@dataclass(frozen=True)
class SecondMoment(Noised):
    """The mean square of the second output against what an SN or NPR asks of it, for the mean of a network that is not
    trained any more, and that has no dropout here."""

    times: Callable = uniform

    trainable_part, trains_variance = "variance", True

    def __call__(self, model, params, state, examples):
        """-> loss (), {}."""
        _check_model(model, SN | NPR, "@SN() or @NPR()")
        net = jax.lax.stop_gradient(params["net"]) | {self.trainable_part: params["net"][self.trainable_part]}
        t, cond = examples.t, Cond(examples.label)
        raw, second = model.outputs(net, noisy(model, examples), t, None, cond)
        wanted = model.variance.target(raw, target(model, examples))
        return jnp.mean((second - wanted) ** 2), {}


@dataclass(frozen=True)
class Hybrid(Denoising):
    """Denoising, and `share` times what the steps of a chain of `steps` even ones cost in the bound on the likelihood,
    bits per dimension, by the variances of a LearnedRange; that part does not see the mean as something to change.

    Each example is one step, from its time t to t - 1 / steps of the way, where there is not so much left to half of t;
    with uniform times their mean is that of the chain.
    """

    times: Callable = uniform
    steps: int = 100
    share: float = 1e-3

    trains_variance = True

    def __post_init__(self):
        super().__post_init__()
        if self.steps < 1 or not self.share > 0:
            raise UsageError(f"hybrid needs steps >= 1 and share > 0: got {self.steps} and {self.share}")

    def __call__(self, model, params, state, examples):
        """-> loss (), {"bound": what all steps cost}."""
        _check_model(model, LearnedRange, "@LearnedRange()")
        x0, _, t, label, key = examples
        x, process, at = noisy(model, examples), model.process, over(t, x0)
        raw, second = model.outputs(params["net"], x, t, None, Cond(label), key)
        mean, _ = model.prediction.decode(process, at, x, jax.lax.stop_gradient(raw))
        first, last = process.ends
        s = over(jnp.maximum(t - (first - last) / self.steps, t / 2), x0)
        moved, inner = posterior(process, at, s)
        between = model.variance.tell(process, model.prediction, at, raw, second)["range"]
        var = inner * (large(process, at, moved, inner) / inner) ** between
        bound = self.steps * divergence(moved, inner, var, (x0 - mean) ** 2).mean() / jnp.log(2)
        loss = self.weighted(model, t, (raw - target(model, examples)) ** 2)
        return loss + self.share * bound, {"bound": bound}


def _check_model(model, kinds, names):
    if not isinstance(model.variance, kinds):
        raise UsageError(f"this objective trains a second output: set train.variance = {names}")
