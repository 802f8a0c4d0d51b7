"""ReFlow: denoising on pairs of noise and the image that a flow maps it to, which straightens the paths (Liu et al.
2022, arXiv:2209.03003; Lee et al. 2024, arXiv:2405.20320)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.denoiser import Cond, Model
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Share
from fewstep.samplers.start import unit_noise
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import Noised, noisy, target
from fewstep.train.objectives.objective import Example
from fewstep.train.objectives.times import uniform
from fewstep.train.state import State


@dataclass(frozen=True)
class ReFlow(Noised):
    """Mean squared error of the network's output against A x0 + B eps of a pair; with `huber` the pseudo-Huber loss
    (sqrt(|e|^2 + c^2) - c) / d, where d is the dimension and c = `huber` times d.

    label_drop is 0 by default, because the noise of an image belongs to its label.  times = @at_steps trains at the
    times of a few equal steps only, for distillation into these steps.
    """

    times: Callable = uniform
    label_drop: Share = 0.0
    huber: Positive | None = None

    needs_pairs = True

    def draw(self, model: Model, batch: Batch, key: Array) -> Example:
        """batch.image (B, *shape), batch.label (B,) or None, batch.seed (B,)."""
        if batch.seed is None:
            raise UsageError("@reflow() requires pairs: set train.pairs = @pairs and pairs.path, see fewstep pairs")
        model.process.check_gaussian("@reflow()")  # as the noise of the pairs
        eps = unit_noise(batch.seed, batch.image.shape[1:])
        if batch.mirrored is not None:
            eps = jnp.where(batch.mirrored[:, None, None, None], eps[:, :, ::-1], eps)
        return super().draw(model, batch, key)._replace(eps=eps)

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"straightness": the mean squared error, which for uniform times is 0 only on straight paths}."""
        raw, _ = model.outputs(
            params["net"], noisy(model, examples), examples.t, None, Cond(examples.label), examples.key
        )
        squares = ((raw - target(model, examples)) ** 2).reshape(len(raw), -1)
        straightness, c = squares.mean(), (self.huber or 0) * squares.shape[1]
        loss = jnp.mean(jnp.sqrt(squares.sum(1) + c**2) - c) / squares.shape[1] if c else straightness
        return loss, {"straightness": straightness}
