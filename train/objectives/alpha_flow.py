"""alpha-Flow: from the velocity to the mean velocity in steps that shrink (Zhang et al. 2025, arXiv:2510.20771; SoFlow,
arXiv:2512.15657)."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.denoiser import Model
from fewstep.errors import UsageError
from fewstep.ranges import Count, Range
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import FlowMap, two_jumps
from fewstep.train.state import State

Step = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True)
class AlphaFlow(FlowMap):
    """The jump from t to s against a step from t to r = t - a (t - s) with velocity v and a jump from r to s, with a
    stopped gradient and a weight of 1 / a.

    a falls from `first` to `last` as a geometric sequence up to step `until`, by default the last one.  At a = 1 the
    network learns the velocity; as a goes to 0 the gradient goes to that of MeanFlow, whose forward-mode product it
    replaces.  own: the step is the network's own jump from t to r, in place of v; with a = 1/2 that is a shortcut.
    """

    first: Step = 1.0
    last: Step = 0.02
    until: Count | None = None
    own: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.own and self.power:
            raise UsageError("AlphaFlow.own requires power = 0: its errors are not random, and weights by them mislead")
        if self.first < self.last:
            raise UsageError(f"AlphaFlow.first is at least AlphaFlow.last: got {self.first} and {self.last}")

    def jump(
        self, model: Model, params: dict, state: State, some: Any, v: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(U, what it is to be, {"a": the share of the first step})."""
        mean, x, t, s = self.mean(model, params, some), noisy(model, some), some.t, some.s
        until: Any = self.until  # set by Experiment
        a = self.first * (self.last / self.first) ** jnp.clip(state.step / until, 0, 1)
        r, u = t - a * (t - s), mean(x, t, s)
        first = mean(x, t, r) if self.own else v
        # A square of u - (u + (both - u) / a) has the gradient of the weighted one.
        both = two_jumps(mean, first, x, t, r, s)
        return u, u + (both - u) / a, {"a": a}
