"""Progressive distillation: one step equals two steps of a teacher (Salimans & Ho 2022, arXiv:2202.00512)."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Model, Pred
from fewstep.diffusion.process import Process
from fewstep.ranges import Range, Share, check_fields
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.objective import Objective
from fewstep.train.objectives.times import at_steps
from fewstep.train.state import State


@dataclass(frozen=True)
class Progressive(Objective):
    """Mean squared error of the network's output against that with which one step of DDIM, of `steps` equal ones, ends
    where two steps of half the size by the initial weights do.

    Each halving of the number of steps is a run of its own, from the weights of the one before.
    """

    steps: Annotated[int, Range(1, 10_000)] = 8
    label_drop: Share = 0.1

    def __post_init__(self):
        check_fields(self)

    @property
    def needs_teacher(self) -> bool:
        return True

    def times(self, process: Process, key: Array, n: int) -> Array:
        """The times before each of the steps, equally often."""
        return at_steps(process, key, n, self.steps)

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {}."""
        process, x, t, cond = model.process, noisy(model, examples), examples.t, Cond(examples.label)
        start, end = process.ends
        s = jnp.maximum(t - (start - end) / self.steps, end)
        teacher, half = model.denoiser(state.frozen["teacher"]["net"]), (t + s) / 2
        between = _ddim(process, teacher(x, t, None, cond), half)
        found = _ddim(process, teacher(between, half, None, cond), s)
        raw, _ = model.outputs(params["net"], x, t, None, cond, examples.key)
        goal = model.prediction.encode(process, over(t, x), *_pair(process, x, found, t, s))
        return jnp.mean((raw - jax.lax.stop_gradient(goal)) ** 2), {}


def _ddim(process, pred: Pred, s):
    """The state at s of a step with the prediction `pred`."""
    return process.alpha(over(s, pred.x0)) * pred.x0 + process.sigma(over(s, pred.x0)) * pred.eps


def _pair(process, x, found, t, s):
    """The (x0, eps) whose step from x at t ends in `found` at s: alpha x0 + sigma eps is x at t and `found` at s."""
    (at, st), (as_, ss) = ((process.alpha(over(u, x)), process.sigma(over(u, x))) for u in (t, s))
    det = as_ * st - at * ss
    return (st * found - ss * x) / det, (as_ * x - at * found) / det
