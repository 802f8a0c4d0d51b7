"""Consistency in continuous time, sCM (Lu & Song 2024, arXiv:2410.11081): the same clean image all along the path."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import ZERO, Cond
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.prediction import VELOCITY
from fewstep.train.objectives.consistency import must_be_consistent
from fewstep.train.objectives.denoising import Noised, noisy
from fewstep.train.objectives.times import log_normal

WAVES = 16


@dataclass(frozen=True)
class ContinuousConsistency(Noised):
    """The network's output F against F + g / (|g| + `floor`), not differentiated, with g = cos(a) df/da, f the image
    that F tells, at the angle a = arctan(sigma / alpha) (the paper's TrigFlow, for any process; -g where more of F is
    more of the image).

    df/da is along the slope of image and noise or, with `teacher`, that of the run that training began with
    (distillation), by one forward-mode product.  Its share r grows over `warmup` steps, from the part in which F is
    against the slope itself.  `floor` small makes every image count the same; what is then learned of random slopes is
    between their mean and their median.  The squared error counts e^-w, and w as well, w(t) being a sum of waves that
    are trained too: then all times count the same (adaptive weight, which makes the paper's prior weight drop out).
    """

    times: Callable = log_normal
    warmup: int = 1000
    floor: float = 0.1
    teacher: bool = False

    capabilities = frozenset({ZERO})
    needs_teacher = property(lambda self: self.teacher)

    def __post_init__(self):
        super().__post_init__()
        if self.warmup < 0 or not self.floor > 0:
            raise UsageError(f"continuous_consistency needs warmup >= 0 and floor > 0: got {self.warmup}, {self.floor}")

    def extra_params(self):
        return {"weight": {"waves": jnp.zeros(WAVES)}}

    def __call__(self, model, params, state, examples):
        """-> loss (), {"error": mean of |g / (|g| + floor)|^2, "slope": mean square of cos(a) df/da}."""
        must_be_consistent(model)
        process, prediction = model.process, model.prediction
        x, t, cond = noisy(model, examples), examples.t, Cond(examples.label)
        at = over(t, x)

        def image(x, t):
            raw, _ = model.outputs(params["net"], x, t, None, cond, examples.key)
            return prediction.decode(process, over(t, x), x, raw)[0], raw

        slope, wanted = self._slope(model, state, x, examples)
        # cos(a) dt/da, multiplied before the product and not after it.
        alpha, sigma, det = process.alpha(at), process.sigma(at), prediction.det(process, at)
        size = jnp.sqrt(alpha**2 + sigma**2)
        pace = alpha * size / (alpha * process.dsigma(at) - sigma * process.dalpha(at))
        (_, out), (along, _) = jax.jvp(image, (x, t), (pace * slope, pace.reshape(t.shape)))
        r = jnp.minimum(1.0, (state.step + 1) / max(self.warmup, 1))
        # The image is -sigma / det of F, and off by -sin(a) (size / det) of what F is off.
        g = jnp.sign(det) * r * along - (1 - r) * (alpha / size) ** 2 * (size / abs(det)) * (out - wanted)
        norm = jnp.sqrt((g**2).reshape(len(t), -1).sum(1))
        goal = jax.lax.stop_gradient(out + g / (over(norm, x) + self.floor))
        squares = ((out - goal) ** 2).reshape(len(t), -1).sum(1)
        w = jnp.cos(jnp.pi * t[:, None] * jnp.arange(WAVES)) @ params["weight"]["waves"]
        return jnp.mean(jnp.exp(-w) * squares + w), {"error": squares.mean(), "slope": jnp.mean(along**2)}

    def _slope(self, model, state, x, examples):
        """dx/dt, and what the network would say that knew it."""
        known = examples
        if self.teacher:
            known = model.denoiser(state.frozen["teacher"]["net"])(x, examples.t, None, Cond(examples.label))
        at = over(examples.t, x)
        return tuple(kind.encode(model.process, at, known.x0, known.eps) for kind in (VELOCITY, model.prediction))
