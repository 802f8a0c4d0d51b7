"""Denoising: regress the network's linear target at a random time (Ho et al. 2020; Lipman et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffusion.arrays import over
from diffusion.denoiser import Cond
from train.objectives.times import logit_normal
from train.objectives.weights import native


class Example(NamedTuple):
    """What the network is shown of an image, and asked; every field has a leading batch axis."""

    x0: Array  # (B, *shape)
    eps: Array  # (B, *shape)
    t: Array  # (B,)
    label: Array | None  # (B,), dropped labels being the null class
    key: Array  # (B,) keys for dropout


@dataclass(frozen=True)
class Denoising:
    """The weighted mean square of the network's output against A x0 + B eps.

    `label_drop` is the share of labels replaced by the null class, which classifier-free guidance needs.
    """

    times: Callable = logit_normal
    weight: Callable = native
    label_drop: float = 0.1

    def __post_init__(self):
        if not 0 <= self.label_drop <= 1:
            raise ValueError(f"denoising.label_drop is a share from 0 to 1: got {self.label_drop}")

    def draw(self, model, batch, key) -> Example:
        """batch.image (B, *shape), batch.label (B,) or None."""
        x0, n = batch.image, len(batch.image)
        for_times, for_noise, for_labels, for_dropout = jax.random.split(key, 4)
        label = batch.label if model.classes else None
        if label is not None:
            label = jnp.where(jax.random.bernoulli(for_labels, self.label_drop, (n,)), model.classes, label)
        t = self.times(model.process, for_times, n)
        return Example(x0, jax.random.normal(for_noise, x0.shape), t, label, jax.random.split(for_dropout, n))

    def __call__(self, model, params, state, examples):
        """-> loss (), {}."""
        x0, eps, t, label, key = examples
        process, prediction, at = model.process, model.prediction, over(t, x0)
        x = process.alpha(at) * x0 + process.sigma(at) * eps
        scaled, clock = prediction.input_scale(process, at) * x, prediction.clock(process, t)
        raw = model.network(params["net"], scaled, clock, None, Cond(label), key)
        error = (raw - prediction.encode(process, at, x0, eps)) ** 2
        weight = self.weight(process, prediction, t)
        return jnp.mean(weight * error.reshape(len(t), -1).mean(axis=1)), {}
