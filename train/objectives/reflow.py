"""ReFlow: denoising on pairs of noise and the image that a flow made of it, which straightens the paths (Liu et al.
2022, arXiv:2209.03003; Lee et al. 2024, arXiv:2405.20320)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.errors import UsageError
from fewstep.samplers.loop import unit_noise
from fewstep.train.objectives.denoising import Example, Noised, noisy, target
from fewstep.train.objectives.times import uniform


@dataclass(frozen=True)
class ReFlow(Noised):
    """The mean square of the network's output against A x0 + B eps of a pair; with `huber` the pseudo-Huber
    sqrt(|e|^2 + c^2) - c over the dimension, c being that many times it.

    label_drop is 0 by default: the noise of an image is that of its label.  With times = @at_steps the pair is learned
    for one step from noise alone, or where a few steps ask (distillation).
    """

    times: Callable = uniform
    label_drop: float = 0.0
    huber: float | None = None

    needs_pairs = True

    def __post_init__(self):
        super().__post_init__()
        if self.huber is not None and not self.huber > 0:
            raise UsageError(f"reflow.huber is above 0, or None for the mean square: got {self.huber}")

    def draw(self, model, batch, key) -> Example:
        """batch.image (B, *shape), batch.label (B,) or None, batch.seed (B,)."""
        if batch.seed is None:
            raise UsageError("@reflow() learns from pairs: set train.pairs = @pairs and pairs.path, see fewstep pairs")
        eps = unit_noise(batch.seed, batch.image.shape[1:])
        if batch.mirrored is not None:
            eps = jnp.where(batch.mirrored[:, None, None, None], eps[:, :, ::-1], eps)
        return super().draw(model, batch, key)._replace(eps=eps)

    def __call__(self, model, params, state, examples):
        """-> loss (), {"straightness": the mean square, with uniform times 0 for straight paths alone}."""
        raw, _ = model.outputs(
            params["net"], noisy(model, examples), examples.t, None, Cond(examples.label), examples.key
        )
        squares = ((raw - target(model, examples)) ** 2).reshape(len(raw), -1)
        straightness, c = squares.mean(), (self.huber or 0) * squares.shape[1]
        loss = jnp.mean(jnp.sqrt(squares.sum(1) + c**2) - c) / squares.shape[1] if c else straightness
        return loss, {"straightness": straightness}
