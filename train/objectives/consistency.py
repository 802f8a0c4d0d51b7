"""Consistency: the same clean image from every point of a path (Song et al. 2023, arXiv:2303.01469), by easy
consistency tuning (Geng et al. 2024, arXiv:2406.14548)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from diffusion.arrays import over
from diffusion.denoiser import ZERO, Cond
from train.objectives.denoising import Noised, noisy
from train.objectives.times import log_normal


@dataclass(frozen=True)
class Consistency(Noised):
    """f(x_t) against f(x_s) of the same image and noise, not differentiated, with s < t the nearer to t the longer the
    training; f is the predicted x0, which at t = 0 is x itself by what the network predicts (velocity on the linear
    path, v, EDM), so that s = 0 asks for the image.

    In sigma / alpha, s = t (1 - q^-(stage + 1) (1 + k sigmoid(-b t))), 0 where that is negative; there are `stages` of
    equal length until the training step `until`, by default the last.  The error counts as the pseudo-Huber
    sqrt(|e|^2 + c^2) - c, c = `huber` times the root of the dimension, times what makes |e|^2 that of the network's
    output (EDM's weight, 1 / t^2 on the linear path).

    `teacher`: x_s is where the run that training began with takes x_t, by one step of Heun's method for its ODE, in
    place of the image with the same noise (consistency distillation).
    """

    times: Callable = log_normal
    until: int | None = None
    stages: int = 8
    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    huber: float = 0.00054
    teacher: bool = False

    answers = frozenset({ZERO})

    def __post_init__(self):
        super().__post_init__()
        if self.stages < 1 or not self.q > 1 or not self.huber > 0:
            raise ValueError(
                f"consistency needs stages of at least 1, q > 1 and huber > 0: got {self.stages}, {self.q} and "
                f"{self.huber}"
            )

    def nearer(self, process, t, step):
        """The time s < t that t is compared with at a training step."""
        stage = jnp.minimum(step * self.stages // self.until, self.stages - 1)
        ratio = jnp.exp(-process.lam(t))
        kept = 1 - self.q ** -(stage + 1.0) * (1 + self.k * jax.nn.sigmoid(-self.b * ratio))
        return jnp.where(kept > 0, process.time(-jnp.log(ratio * jnp.maximum(kept, 1e-9))), 0.0)

    def __call__(self, model, params, state, examples):
        """-> loss (), {"apart": mean squared difference of the two images}."""
        process, prediction, t = model.process, model.prediction, examples.t
        found, _ = prediction.decode(process, 0.0, 1.0, 0.5)
        if process.sigma(0.0) != 0 or not np.isclose(found * process.alpha(0.0), 1.0):
            raise ValueError(
                "at t = 0 a consistent image is the state itself: choose a process without noise there, and VELOCITY, "
                "V or edm as what the network predicts"
            )
        s, cond = self.nearer(process, t, state.step), Cond(examples.label)
        c = self.huber * examples.x0[0].size ** 0.5
        den, x = model.denoiser(params["net"]), noisy(model, examples)
        below = self._led(model, state, x, t, s, cond) if self.teacher else noisy(model, examples._replace(t=s))
        near = den(below, s, None, cond, examples.key).x0
        near = jax.lax.stop_gradient(jnp.where(over(s, near) > 0, near, examples.x0))
        apart = den(x, t, None, cond, examples.key).x0 - near
        size = jnp.sqrt((apart**2).reshape(len(t), -1).sum(1) + c**2) - c
        loss = jnp.mean((prediction.det(process, t) / process.sigma(t)) ** 2 * size)
        return loss, {"apart": jnp.mean(apart**2)}

    def _led(self, model, state, x, t, s, cond):
        """Where the teacher's ODE leads from x at t to s: Heun's step for x / alpha in sigma / alpha, Euler's to 0."""
        process, teacher = model.process, model.denoiser(state.frozen["teacher"]["net"])
        (at, st), (as_, ss) = ((process.alpha(over(u, x)), process.sigma(over(u, x))) for u in (t, s))
        first = teacher(x, t, None, cond).eps
        moved = ss / as_ - st / at
        there = as_ * (x / at + moved * first)
        second = teacher(there, s, None, cond).eps
        return jnp.where(ss > 0, as_ * (x / at + moved * (first + second) / 2), there)
