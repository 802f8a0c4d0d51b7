"""Denoising: regression of the network's linear target at random times (Ho et al. 2020; Lipman et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Model
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range, Share, check_fields
from fewstep.train.objectives.objective import ADDED, Objective
from fewstep.train.objectives.times import logit_normal
from fewstep.train.objectives.weights import native
from fewstep.train.state import State


@dataclass(frozen=True)
class Noised(Objective):
    """The base of the objectives here: the distribution of times and the label dropout are fields.

    `label_drop` is the fraction of labels replaced by the null class, for classifier-free guidance.  Raises
    UsageError for a subclass that gives a field another value without an annotation, which Python would ignore.
    """

    times: Callable = logit_normal
    label_drop: Share = 0.1

    def __post_init__(self):
        kind = type(self)
        if ignored := [f.name for f in fields(self) if getattr(kind, f.name, f.default) is not f.default]:
            raise UsageError(
                f"{kind.__name__}.{ignored[0]} is a field: annotate it below @dataclass(frozen=True), or pass it"
            )
        check_fields(self)


@dataclass(frozen=True)
class Weighted(Noised):
    """The base of objectives with a mean squared error that is weighted by time."""

    weight: Callable = native

    def weighted(self, model: Model, t: Array, errors: Array) -> Array:
        """The mean of squared errors (B, ...), weighted by time."""
        weight = self.weight(model.process, model.prediction, t)
        return jnp.mean(weight * errors.reshape(len(t), -1).mean(axis=1))


@dataclass(frozen=True)
class Denoising(Weighted):
    """Weighted mean squared error of the network's output against A x0 + B eps.

    dispersive: the weight of `dispersion` of the features of a batch, at this `temperature`.  The features are means
    over the pixels or tokens of the middle of the network, where the authors take all of them.
    """

    dispersive: Annotated[float, Range(0, 1000)] = field(default=0.0, metadata=ADDED)
    temperature: Positive = field(default=0.5, metadata=ADDED)

    @property
    def whole_batch(self) -> bool:
        return self.dispersive > 0

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"dispersion": without its weight, if it has one}."""
        _, _, t, label, key = examples
        x = noisy(model, examples)
        raw, _, features = model.with_features(params["net"], x, t, None, Cond(label), key)
        loss = self.weighted(model, t, (raw - target(model, examples)) ** 2)
        if not self.dispersive:
            return loss, {}
        if features is None:
            raise UsageError(
                "denoising.dispersive requires a network with features, as UNet, UNet2D, DiT and MLP have: set it to 0"
            )
        spread = dispersion(features, self.temperature)
        return loss + self.dispersive * spread, {"dispersion": spread}


def dispersion(features: Array, temperature: float) -> Array:
    """log of the mean over pairs of exp(-|z_i - z_j|^2 / (F temperature)) of features (B, F): the less, the further
    apart they are (Wang & He 2025, arXiv:2506.09027, the form of InfoNCE)."""
    z = (features - features.mean(0)) * features.shape[1] ** -0.5
    sizes = jnp.sum(z * z, axis=1)
    # Not (z_i - z_j)^2, which has B * B * F elements in the gradient.
    squares = jnp.maximum(sizes[:, None] + sizes - 2 * jnp.dot(z, z.T, precision="highest"), 0.0)
    squares *= 1 - jnp.eye(len(z))  # rounding is not 0 on the diagonal
    return jax.nn.logsumexp(-squares / temperature) - 2 * jnp.log(len(features))


def noisy(model: Model, examples: Any) -> Array:
    """x_t of the examples, (B, *shape)."""
    at = over(examples.t, examples.x0)
    return model.process.alpha(at) * examples.x0 + model.process.sigma(at) * examples.eps


def target(model: Model, examples: Any) -> Array:
    """The regression target A x0 + B eps of the examples, (B, *shape)."""
    at = over(examples.t, examples.x0)
    return model.prediction.encode(model.process, at, examples.x0, examples.eps)
