"""A flow map as its own teacher, without derivatives in x (Boffi et al. 2025, arXiv:2505.18825)."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Model
from fewstep.ranges import Range
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import FlowMap, Jump, Power, two_jumps
from fewstep.train.state import State


@dataclass(frozen=True)
class _SelfDistillation(FlowMap):
    power: Power = 0.0

    random_goals = False


@dataclass(frozen=True)
class LSD(_SelfDistillation):
    """Lagrangian self-distillation: the point Phi_{t -> s}(x) moves with s as the network's own velocity says there.

    d/ds Phi = U - (t - s) d_s U, one forward-mode product in the number s, against u(Phi; s) with a stopped gradient.
    """

    def jump(
        self, model: Model, params: dict, state: State, some: Any, v: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(dPhi/ds, the velocity there, {})."""
        mean, x, t, s = self.mean(model, params, some), noisy(model, some), some.t, some.s
        u, slope = jax.jvp(lambda s: mean(x, t, s), (s,), (jnp.ones_like(s),))
        there = jax.lax.stop_gradient(x - over(t - s, x) * u)
        return u - over(t - s, x) * slope, mean(there, s, s), {}


@dataclass(frozen=True)
class PSD(_SelfDistillation):
    """Progressive self-distillation: the jump from t to s against the jumps from t to r and from r to s, with a stopped
    gradient.  r lies at a share of the way: `share`, or None: anywhere."""

    share: Annotated[float, Range(above=0, below=1)] | None = None

    def draw(self, model: Model, batch: Batch, key: Array) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, share = super().draw(model, batch, key), self.share
        if share is None:
            share = jax.random.uniform(jax.random.fold_in(key, 5), drawn.t.shape)
        return drawn._replace(r=drawn.t - share * (drawn.t - drawn.s))

    def jump(
        self, model: Model, params: dict, state: State, some: Any, v: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(U, the mean velocity of both jumps, {})."""
        mean, x, (t, r, s) = self.mean(model, params, some), noisy(model, some), (some.t, some.r, some.s)
        return mean(x, t, s), two_jumps(mean, mean(x, t, r), x, t, r, s), {}
