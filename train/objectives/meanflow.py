"""MeanFlow: the mean velocity by its own derivative (Geng et al. 2025, arXiv:2505.13447)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Model
from fewstep.ranges import Fraction
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import FlowMap, Guidance, null_label
from fewstep.train.state import State


@dataclass(frozen=True)
class MeanFlow(FlowMap):
    """U against v - (t - s) dU/dt, with a stopped gradient; dU/dt = v d_x U + d_t U is one forward-mode product.

    With `guidance` w and `mix` k, v is replaced by w v + (1 - w - k) u(null) + k u(label), where u is the network's own
    velocity: the network learns a guided flow of scale w / (1 - k), which needs no extra calls at sampling.  Examples
    with a dropped label keep v.
    """

    guidance: Guidance = 1.0
    mix: Fraction = 0.0

    def jump(
        self, model: Model, params: dict, state: State, some: Any, v: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(U, what it is to be, {"slope": mean square of dU/dt})."""
        mean, x, t = self.mean(model, params, some), noisy(model, some), some.t
        u, slope = jax.jvp(lambda x, t: mean(x, t, some.s), (x, t), (v, jnp.ones_like(t)))
        return u, v - over(t - some.s, x) * slope, {"slope": jnp.mean(slope**2)}

    def velocity(self, model: Model, params: dict, examples: Any) -> Array:
        """dx/dt with guidance."""
        v, t = super().velocity(model, params, examples), examples.t
        if (self.guidance, self.mix) == (1, 0):
            return v
        mean, x, null = self.mean(model, params, examples), noisy(model, examples), null_label(model, examples)
        guided = self.guidance * v
        for share, label in ((1 - self.guidance - self.mix, null), (self.mix, examples.label)):
            guided += share * mean(x, t, t, label) if share else 0.0
        return jax.lax.stop_gradient(jnp.where(over(examples.label == null, v), v, guided))
