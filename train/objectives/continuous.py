"""Continuous-time consistency training, sCM (Lu & Song 2024, arXiv:2410.11081)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import ZERO, Cond, Model
from fewstep.diffusion.prediction import VELOCITY
from fewstep.ranges import Positive, Range
from fewstep.train.objectives.consistency import check_consistent
from fewstep.train.objectives.denoising import Noised, noisy
from fewstep.train.objectives.times import log_normal
from fewstep.train.state import State

WAVES = 16  # cosines of the adaptive weight


@dataclass(frozen=True)
class ContinuousConsistency(Noised):
    """Squared error of the network's output F against F + g / (|g| + `floor`), with a stopped gradient and the tangent
    g = cos(a) df/da, where f is the image predicted by F and a = arctan(sigma / alpha) is the angle of the paper's
    TrigFlow, here for any process.  The sign of g is flipped if F increases with the image.

    df/da is taken along the velocity of image and noise or, with `teacher`, along that of the initial weights
    (distillation), by one forward-mode product.  Its share r grows over `warmup` steps; the remaining part of g is the
    error of F as a velocity.  With a small `floor` all images have the same weight, and the estimate of a random
    velocity lies between its mean and its median.  The loss is e^-w times the squared error, plus w, where w(t) is a
    trained sum of cosines: this adaptive weight makes all times count equally, and the paper's prior weight cancels.
    """

    times: Callable = log_normal
    warmup: Annotated[int, Range(0, 10**9)] = 1000
    floor: Positive = 0.1
    teacher: bool = False

    capabilities = frozenset({ZERO})

    @property
    def needs_teacher(self) -> bool:
        return self.teacher

    def extra_params(self) -> dict[str, Any]:
        return {"weight": {"waves": jnp.zeros(WAVES)}}

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"error": mean of |g / (|g| + floor)|^2, "slope": mean square of cos(a) df/da}."""
        check_consistent(model)
        process, prediction = model.process, model.prediction
        x, t, cond = noisy(model, examples), examples.t, Cond(examples.label)
        at = over(t, x)

        def image(x, t):
            raw, _ = model.outputs(params["net"], x, t, None, cond, examples.key)
            return prediction.decode(process, over(t, x), x, raw)[0], raw

        velocity, ideal = self._velocity(model, state, x, examples)
        # cos(a) dt/da scales the tangents before the product, not after it.
        alpha, sigma, det = process.alpha(at), process.sigma(at), prediction.det(process, at)
        size = jnp.sqrt(alpha**2 + sigma**2)
        pace = alpha * size / (alpha * process.dsigma(at) - sigma * process.dalpha(at))
        (_, out), (along, _) = jax.jvp(image, (x, t), (pace * velocity, pace.reshape(t.shape)))
        r = jnp.minimum(1.0, (state.step + 1) / max(self.warmup, 1))
        # The image depends on F by -sigma / det: an error of F is -sin(a) (size / det) times it in the image.
        g = jnp.sign(det) * r * along - (1 - r) * (alpha / size) ** 2 * (size / abs(det)) * (out - ideal)
        norm = jnp.sqrt((g**2).reshape(len(t), -1).sum(1))
        goal = jax.lax.stop_gradient(out + g / (over(norm, x) + self.floor))
        squares = ((out - goal) ** 2).reshape(len(t), -1).sum(1)
        w = jnp.cos(jnp.pi * t[:, None] * jnp.arange(WAVES)) @ params["weight"]["waves"]
        return jnp.mean(jnp.exp(-w) * squares + w), {"error": squares.mean(), "slope": jnp.mean(along**2)}

    def _velocity(self, model, state, x, examples):
        """dx/dt, and the network output that corresponds to it."""
        known = examples
        if self.teacher:
            known = model.denoiser(state.frozen["teacher"]["net"])(x, examples.t, None, Cond(examples.label))
        at = over(examples.t, x)
        return tuple(kind.encode(model.process, at, known.x0, known.eps) for kind in (VELOCITY, model.prediction))
