"""Improved MeanFlow: the network's own velocity as the tangent, guidance as an input (Geng et al. 2025,
arXiv:2512.02012)."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.variance import Auxiliary
from fewstep.ranges import Range, Share
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import FlowMap, Jump, null_label
from fewstep.train.state import State


@dataclass(frozen=True)
class ImprovedMeanFlow(FlowMap):
    """MeanFlow's loss with dU/dt along the network's own velocity u(x, t), which has no random error, in place of v.

    An auxiliary second output, zero at initialization, learns v - U; u is the sum of both at s = t.  With `guidance`
    above 1 the scale w of guidance is an input of the network, with a density of 1 / w from 1 to `guidance`, and so are
    the times low in [0, 1/2] and high in [1/2, 1] between which it applies: there v becomes
    v + (1 - 1 / w) (u(label, w, low, high) - u(null)), except where the label is dropped.
    """

    same: Share = 0.5
    guidance: Annotated[float, Range(1, 100)] = 1.0

    trains_variance, auxiliary = True, Auxiliary()

    @property
    def guided(self) -> float:
        return self.guidance if self.guidance > 1 else 0.0

    def draw(self, model: Model, batch: Batch, key: Array) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        if not self.guided:
            return drawn
        u = jax.random.uniform(jax.random.fold_in(key, 5), (n, 3))
        guidance = jnp.stack([self.guidance ** u[:, 0], u[:, 1] / 2, (1 + u[:, 2]) / 2], axis=1)
        return drawn._replace(guidance=guidance)

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"flow", "jump": mean squared errors of U for s = t and for s < t, "velocity": of the auxiliary
        output, "slope": mean square of dU/dt}."""
        some, rest = self.divided(examples)
        (v, whole), found, goals, metrics = self.guide(model, params, examples), [], [], {}
        if few := len(some.t):
            outputs, x, t = self.outputs(model, params, some), noisy(model, some), some.t
            own = self.own(model, params, some) if whole is None else whole[:few]
            at, along = (x, t), (own, jnp.ones_like(t))
            u, slope, second = jax.jvp(lambda x, t: outputs(x, t, some.s), at, along, has_aux=True)
            found.append((u, second))
            goals.append(v[:few] - over(t - some.s, x) * slope)
            metrics = {"slope": jnp.mean(slope**2)}
        if len(rest.t):
            found.append(self.outputs(model, params, rest)(noisy(model, rest), rest.t, rest.t))
            goals.append(v[few:])
        u, second = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
        errors = u - jax.lax.stop_gradient(jnp.concatenate(goals)), jax.lax.stop_gradient(u) + second - v
        squares, others = ((error**2).reshape(len(u), -1) for error in errors)
        metrics |= self.parts(examples, squares) | {"velocity": others.mean()}
        return self.weighed(squares) + self.weighed(others), metrics

    def own(self, model: Model, params: dict, examples: Any, *given: Any) -> Array:
        """The network's velocity u at x_t, (B, *shape), with a stopped gradient; given: a label and a guidance in place
        of those of the examples."""
        outputs, t = self.outputs(model, params, examples), examples.t
        u, second = outputs(noisy(model, examples), t, t, *given)
        return jax.lax.stop_gradient(u + second)

    def guide(self, model: Model, params: dict, examples: Any) -> tuple[Array, Array | None]:
        """dx/dt with guidance, and the u of the examples, None without guidance."""
        v, t = self.velocity(model, params, examples), examples.t
        if not self.guided:
            return v, None
        null, (scale, low, high) = null_label(model, examples), examples.guidance.T
        on = (low <= t) & (t <= high) & (examples.label != null)
        own = self.own(model, params, examples)
        away = own - self.own(model, params, examples, null, None)
        return v + over(jnp.where(on, 1 - 1 / scale, 0.0), v) * away, own
