"""Denoising: regress the network's linear target at a random time (Ho et al. 2020; Lipman et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import INSTANT, Cond
from fewstep.diffusion.errors import UsageError
from fewstep.train.objectives.times import logit_normal
from fewstep.train.objectives.weights import native


class Example(NamedTuple):
    """What the network is shown of an image, and asked; every field has a leading batch axis."""

    x0: Array  # (B, *shape)
    eps: Array  # (B, *shape)
    t: Array  # (B,)
    label: Array | None  # (B,), dropped labels being the null class
    key: Array  # (B,) keys for dropout


@dataclass(frozen=True)
class Noised:
    """Images with noise at random times, for an objective of them.

    `label_drop` is the share of labels replaced by the null class, which classifier-free guidance needs.
    """

    times: Callable = logit_normal
    label_drop: float = 0.1

    trainable_part = None  # the part of the network that is trained; None: all of it
    capabilities = frozenset({INSTANT})  # what is learned, as in `Model.capabilities`
    trains_variance = False  # whether it trains a second output
    needs_pairs = False  # whether it learns from pairs of noise and image
    needs_teacher = (
        False  # whether the weights that training begins with are used all the time, state.frozen["teacher"]
    )

    def extra_params(self) -> dict:
        """What is trained beside the network, groups of `State.params`, as they are before the first step."""
        return {}

    def __post_init__(self):
        if not 0 <= self.label_drop <= 1:
            raise UsageError(f"label_drop is a share from 0 to 1: got {self.label_drop}")

    def draw(self, model, batch, key) -> Example:
        """batch.image (B, *shape), batch.label (B,) or None."""
        if model.variance is not None and not self.trains_variance:
            raise UsageError(
                "this objective trains no second output: leave train.variance None, or take @second_moment(), @hybrid()"
            )
        x0, n = batch.image, len(batch.image)
        for_times, for_noise, for_labels, for_dropout = jax.random.split(key, 4)
        label = batch.label if model.classes else None
        if label is not None:
            label = jnp.where(jax.random.bernoulli(for_labels, self.label_drop, (n,)), model.classes, label)
        t = self.times(model.process, for_times, n)
        return Example(x0, jax.random.normal(for_noise, x0.shape), t, label, jax.random.split(for_dropout, n))


@dataclass(frozen=True)
class Denoising(Noised):
    """The weighted mean square of the network's output against A x0 + B eps."""

    weight: Callable = native

    def __call__(self, model, params, state, examples):
        """-> loss (), {}."""
        _, _, t, label, key = examples
        raw, _ = model.outputs(params["net"], noisy(model, examples), t, None, Cond(label), key)
        return self.weighted(model, t, (raw - target(model, examples)) ** 2), {}

    def weighted(self, model, t, errors):
        """The mean of errors (B, ...) of the network's outputs, each time with its weight."""
        weight = self.weight(model.process, model.prediction, t)
        return jnp.mean(weight * errors.reshape(len(t), -1).mean(axis=1))


def noisy(model, examples):
    """x_t of examples."""
    at = over(examples.t, examples.x0)
    return model.process.alpha(at) * examples.x0 + model.process.sigma(at) * examples.eps


def target(model, examples):
    """What a perfect network would say of examples whose x0 and eps it knew."""
    at = over(examples.t, examples.x0)
    return model.prediction.encode(model.process, at, examples.x0, examples.eps)
