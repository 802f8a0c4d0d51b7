"""Consistency in steps: the same clean image from two points of a path (Song et al. 2023, arXiv:2303.01469), by the
recipes of improved training (Song & Dhariwal 2023, arXiv:2310.14189) and easy tuning (Geng et al. 2024,
arXiv:2406.14548)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import ZERO, Cond
from fewstep.diffusion.errors import UsageError
from fewstep.train.objectives.denoising import Noised, noisy
from fewstep.train.objectives.times import log_normal


def shrinking(process, t, done, stages=8, q=2.0, k=8.0, b=1.0):
    """In sigma / alpha, s = t (1 - q^-(stage + 1) (1 + k sigmoid(-b t))), 0 where that is negative, with `stages` of
    equal length (easy consistency tuning)."""
    stage = jnp.minimum(jnp.floor(done * stages), stages - 1)
    ratio = jnp.exp(-process.lam(t))
    kept = 1 - q ** -(stage + 1.0) * (1 + k * jax.nn.sigmoid(-b * ratio))
    return t, jnp.where(kept > 0, process.time(-jnp.log(ratio * jnp.maximum(kept, 1e-9))), 0.0)


def doubling(process, t, done, first=10, last=1280, rho=7.0):
    """Neighbours t > s around the time drawn, on Karras et al.'s grid between the process's finite ends, whose number
    of steps doubles from `first` to `last` (improved consistency training); below the grid, s = 0."""
    start, end = (float(np.exp(-process.lam(u))) for u in process.snr_ends)
    times = np.floor(np.log2(last / first)) + 1
    steps = jnp.minimum(first * 2.0 ** jnp.floor(done * times), last)
    low, high = end ** (1 / rho), start ** (1 / rho)
    place = (jnp.exp(-process.lam(t)) ** (1 / rho) - low) / (high - low) * steps
    place = jnp.clip(jnp.floor(place), -1, steps - 1)

    def at(place):
        return process.time(-rho * jnp.log(low + place / steps * (high - low)))

    return at(place + 1), jnp.where(place < 0, 0.0, at(jnp.maximum(place, 0)))


def of_output(process, prediction, t, s):
    """det / sigma: errors of the network's output, as they are."""
    return abs(prediction.det(process, t) / process.sigma(t))


def of_square(process, prediction, t, s):
    """(det / sigma)^2, which for EDM is 1 / sigma^2 + 1 / sigma_data^2 (easy consistency tuning)."""
    return of_output(process, prediction, t, s) ** 2


def of_slope(process, prediction, t, s):
    """One over the difference in sigma / alpha (improved consistency training), which is told to a part in 1e6."""
    high, low = jnp.exp(-process.lam(t)), jnp.exp(-process.lam(s))
    return 1 / jnp.maximum(high - low, 1e-6 * high)


@dataclass(frozen=True)
class DiscreteConsistency(Noised):
    """f(x_t) against f(x_s) of the same image and noise, not differentiated, with s < t the nearer to t the longer the
    training; f is the predicted x0, which at t = 0 is x itself by what the network predicts (velocity on the linear
    path, v, EDM), so that s = 0 asks for the image.

    pair(process, t, done) -> (t, s) for the share `done` in [0, 1] of the steps until `until`, by default the last one.
    The error counts as the pseudo-Huber sqrt(|e|^2 + c^2) - c, c = `huber` times the root of the dimension, times
    weight(process, prediction, t, s).

    `teacher`: x_s is where the run that training began with takes x_t, by one step of Heun's method for its ODE, in
    place of the image with the same noise (consistency distillation).
    """

    times: Callable = log_normal
    pair: Callable = shrinking
    weight: Callable = of_output
    until: int | None = None
    huber: float = 0.00054
    teacher: bool = False

    capabilities = frozenset({ZERO})
    needs_teacher = property(lambda self: self.teacher)

    def __post_init__(self):
        super().__post_init__()
        if not self.huber > 0 or (self.until is not None and self.until < 1):
            raise UsageError(
                f"discrete_consistency needs huber > 0 and until of at least 1: got {self.huber} and {self.until}"
            )

    def __call__(self, model, params, state, examples):
        """-> loss (), {"apart": mean squared difference of the two images}."""
        must_be_consistent(model)
        process, prediction = model.process, model.prediction
        t, s = self.pair(process, examples.t, jnp.clip(state.step / self.until, 0, 1))
        examples, cond = examples._replace(t=t), Cond(examples.label)
        c = self.huber * examples.x0[0].size ** 0.5
        den, x = model.denoiser(params["net"]), noisy(model, examples)
        below = self._led(model, state, x, t, s, cond) if self.teacher else noisy(model, examples._replace(t=s))
        near = den(below, s, None, cond, examples.key).x0
        near = jax.lax.stop_gradient(jnp.where(over(s, near) > 0, near, below))
        apart = den(x, t, None, cond, examples.key).x0 - near
        size = jnp.sqrt((apart**2).reshape(len(t), -1).sum(1) + c**2) - c
        return jnp.mean(self.weight(process, prediction, t, s) * size), {"apart": jnp.mean(apart**2)}

    def _led(self, model, state, x, t, s, cond):
        """Where the teacher's ODE leads from x at t to s: Heun's step for x / alpha in sigma / alpha, Euler's to 0."""
        process, teacher = model.process, model.denoiser(state.frozen["teacher"]["net"])
        (at, st), (as_, ss) = ((process.alpha(over(u, x)), process.sigma(over(u, x))) for u in (t, s))
        first = teacher(x, t, None, cond).eps
        moved = ss / as_ - st / at
        there = as_ * (x / at + moved * first)
        second = teacher(there, s, None, cond).eps
        return jnp.where(ss > 0, as_ * (x / at + moved * (first + second) / 2), there)


def must_be_consistent(model):
    """UsageError where x0 at t = 0 is not the state itself."""
    process, zero = model.process, np.float64(0.0)
    if process.sigma(zero) != 0:
        raise UsageError("at t = 0 a consistent image is the state itself: choose a process without noise there")
    with np.errstate(all="ignore"):
        found, _ = model.prediction.decode(process, zero, np.float64(1.0), np.float64(0.5))
    if not np.isclose(found * process.alpha(zero), 1.0):
        raise UsageError(
            "at t = 0 a consistent image is the state itself, whatever the network says: let it predict V or edm, or "
            "VELOCITY on a path that is straight there"
        )


NEIGHBOURS = {"shrinking": shrinking, "doubling": doubling}
SIZES = {"of_output": of_output, "of_square": of_square, "of_slope": of_slope}
