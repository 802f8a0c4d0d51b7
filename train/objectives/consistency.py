"""Discrete consistency training: the same clean image from two points of a path (Song et al. 2023, arXiv:2303.01469),
with improved consistency training (Song & Dhariwal 2023, arXiv:2310.14189) and easy consistency tuning (Geng et al.
2024, arXiv:2406.14548)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import ZERO, Cond, Model
from fewstep.diffusion.prediction import Prediction
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Count, NonNegative, Positive, Range, checked
from fewstep.train.objectives.denoising import Noised, noisy
from fewstep.train.objectives.times import log_normal
from fewstep.train.state import State

Steps = Annotated[int, Range(1, 1_000_000)]


@checked
def shrinking(
    process: Process,
    t: Array,
    done: Array,
    stages: Annotated[int, Range(1, 1000)] = 8,
    q: Annotated[float, Range(above=1, most=1000)] = 2.0,
    k: NonNegative = 8.0,
    b: NonNegative = 1.0,
) -> tuple[Array, Array]:
    """In sigma / alpha, s = t (1 - q^-(stage + 1) (1 + k sigmoid(-b t))), or 0 if that is negative, with `stages` of
    equal length (easy consistency tuning)."""
    stage = jnp.minimum(jnp.floor(done * stages), stages - 1)
    ratio = jnp.exp(-process.lam(t))
    kept = 1 - q ** -(stage + 1.0) * (1 + k * jax.nn.sigmoid(-b * ratio))
    return t, jnp.where(kept > 0, process.time(-jnp.log(ratio * jnp.maximum(kept, 1e-9))), 0.0)


@checked
def doubling(
    process: Process,
    t: Array,
    done: Array,
    first: Steps = 10,
    last: Steps = 1280,
    rho: Annotated[float, Range(above=0, most=100)] = 7.0,
) -> tuple[Array, Array]:
    """Adjacent times t > s around the drawn time, on the grid of Karras et al. between the finite ends of the process;
    its number of steps doubles from `first` to `last` (improved consistency training).  Below the grid, s = 0."""
    if first > last:
        raise UsageError(f"doubling.first is at most doubling.last: got {first} and {last}")
    start, end = (float(np.exp(-process.lam(u))) for u in process.snr_ends)
    times = np.floor(np.log2(last / first)) + 1
    steps = jnp.minimum(first * 2.0 ** jnp.floor(done * times), last)
    low, high = end ** (1 / rho), start ** (1 / rho)
    place = (jnp.exp(-process.lam(t)) ** (1 / rho) - low) / (high - low) * steps
    place = jnp.clip(jnp.floor(place), -1, steps - 1)

    def at(place):
        return process.time(-rho * jnp.log(low + place / steps * (high - low)))

    return at(place + 1), jnp.where(place < 0, 0.0, at(jnp.maximum(place, 0)))


def of_output(process: Process, prediction: Prediction, t: Array, s: Array) -> Array:
    """det / sigma: weights errors as those of the network's output."""
    return abs(prediction.det(process, t) / process.sigma(t))


def of_square(process: Process, prediction: Prediction, t: Array, s: Array) -> Array:
    """(det / sigma)^2, which for EDM is 1 / sigma^2 + 1 / sigma_data^2 (easy consistency tuning)."""
    return of_output(process, prediction, t, s) ** 2


def of_slope(process: Process, prediction: Prediction, t: Array, s: Array) -> Array:
    """The reciprocal of the difference in sigma / alpha (improved consistency training), which is at least 1e-6 of the
    larger one, its precision."""
    high, low = jnp.exp(-process.lam(t)), jnp.exp(-process.lam(s))
    return 1 / jnp.maximum(high - low, 1e-6 * high)


@dataclass(frozen=True)
class DiscreteConsistency(Noised):
    """The distance of f(x_t) to f(x_s), with a stopped gradient, for the same image and noise; s < t approaches t
    during training.  f is the predicted x0, which equals x at t = 0 for suitable predictions (velocity on the linear
    path, v, EDM), so that for s = 0 the target is the image.

    pair(process, t, done) -> (t, s), where `done` in [0, 1] is the training progress at step `until`, by default the
    last one.  The loss is the pseudo-Huber distance sqrt(|e|^2 + c^2) - c, with c = `huber` times the square root of
    the dimension, weighted by weight(process, prediction, t, s).

    teacher: x_s is computed from x_t by one Heun step of the probability-flow ODE of the initial weights, instead of
    from the same noise (consistency distillation).
    """

    times: Callable = log_normal
    pair: Callable = shrinking
    weight: Callable = of_output
    until: Count | None = None
    huber: Positive = 0.00054
    teacher: bool = False

    capabilities = frozenset({ZERO})

    @property
    def needs_teacher(self) -> bool:
        return self.teacher

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"apart": mean squared difference of the two images}."""
        check_consistent(model)
        process, prediction = model.process, model.prediction
        until: Any = self.until  # set by Experiment
        t, s = self.pair(process, examples.t, jnp.clip(state.step / until, 0, 1))
        examples, cond = examples._replace(t=t), Cond(examples.label)
        c = self.huber * examples.x0[0].size ** 0.5
        den, x = model.denoiser(params["net"]), noisy(model, examples)
        x_s = self._teacher_step(model, state, x, t, s, cond) if self.teacher else noisy(model, examples._replace(t=s))
        goal = den(x_s, s, None, cond, examples.key).x0
        goal = jax.lax.stop_gradient(jnp.where(over(s, goal) > 0, goal, x_s))
        difference = den(x, t, None, cond, examples.key).x0 - goal
        distance = jnp.sqrt((difference**2).reshape(len(t), -1).sum(1) + c**2) - c
        return jnp.mean(self.weight(process, prediction, t, s) * distance), {"apart": jnp.mean(difference**2)}

    def _teacher_step(self, model, state, x, t, s, cond):
        """The teacher's ODE step from x at t to s: Heun's method for x / alpha in sigma / alpha, Euler's to s = 0."""
        process, teacher = model.process, model.denoiser(state.frozen["teacher"]["net"])
        (at, st), (as_, ss) = ((process.alpha(over(u, x)), process.sigma(over(u, x))) for u in (t, s))
        first = teacher(x, t, None, cond).eps
        moved = ss / as_ - st / at
        there = as_ * (x / at + moved * first)
        second = teacher(there, s, None, cond).eps
        return jnp.where(ss > 0, as_ * (x / at + moved * (first + second) / 2), there)


def check_consistent(model: Model) -> None:
    """Raises UsageError unless the predicted x0 at t = 0 is x itself (the boundary condition)."""
    process, zero = model.process, np.float64(0.0)
    if process.sigma(zero) != 0:
        raise UsageError("consistency requires sigma = 0 at t = 0: choose another process")
    x, raw = np.array(1.0), np.array(0.5)
    with np.errstate(all="ignore"):
        found, _ = model.prediction.decode(process, zero, x, raw)
    if not np.isclose(found * process.alpha(zero), 1.0):
        raise UsageError(
            "consistency requires the predicted x0 at t = 0 to be x for any network output: use the prediction V or "
            "edm, or VELOCITY on the linear path"
        )


NEIGHBOURS = {"shrinking": shrinking, "doubling": doubling}
SIZES = {"of_output": of_output, "of_square": of_square, "of_slope": of_slope}
