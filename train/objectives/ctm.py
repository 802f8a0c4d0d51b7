"""Consistency trajectory models: a jump equals a teacher's step followed by a shorter jump (Kim et al. 2023,
arXiv:2310.02279), without the adversarial part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Model
from fewstep.ranges import Range, Share
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import FlowMap, Power
from fewstep.train.objectives.times import uniform
from fewstep.train.state import State

SHORT = 1e-3  # errors of shorter jumps count as of this one: the images differ by rounding


@dataclass(frozen=True)
class CTM(FlowMap):
    """The jump from t to s against a step of the teacher from t to u = max(s, t - `reach`) and the jump from u to s.

    The teacher's step is Heun's along the velocity of the initial weights.  Both ends, at s, are taken to the data by
    the average of the weights with the largest decay, which also makes the jump from u.  The difference of the two
    images is divided by t - s, as errors of the mean velocity count.  (The paper compares features of the images, and
    balances the losses of jumps and of the velocity by their gradients.)
    """

    times: Callable = uniform
    same: Share = 0.5
    power: Power = 0.0
    reach: Annotated[float, Range(above=0, most=1)] = 0.1

    random_goals = False

    @property
    def needs_teacher(self) -> bool:
        return True

    def jump(
        self, model: Model, params: dict, state: State, some: Any, v: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(The image of the jump, that of the other way, {}), each divided by t - s."""
        x, t, s = noisy(model, some), some.t, some.s
        mean = self.mean(model, state.smoothest, some)
        u = self.mean(model, params, some)(x, t, s)
        near, size = jnp.maximum(s, t - self.reach), over(jnp.maximum(t - s, SHORT), x)
        between = self.solve(model, state, x, t, near, Cond(some.label))

        def image(x):
            return (x - over(s, x) * mean(x, s, jnp.zeros_like(s))) / size

        goal = image(between - over(near - s, x) * mean(between, near, s))
        return jnp.where(over(s < t, x), image(x - over(t - s, x) * u), u), goal, {}

    def solve(self, model: Model, state: State, x: Array, t: Array, u: Array, cond: Cond) -> Array:
        """The teacher's state at u, (B, *shape), from x at t, by one step of Heun's method."""
        teacher = model.denoiser(state.frozen["teacher"]["net"])

        def velocity(x, t):
            pred = teacher(x, t, None, cond)
            return pred.eps - pred.x0

        first, size = velocity(x, t), over(t - u, x)
        return x - size * (first + velocity(x - size * first, u)) / 2
