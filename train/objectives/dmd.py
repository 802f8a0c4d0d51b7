"""Distribution matching distillation (Yin et al. 2023, arXiv:2311.18828; 2024, arXiv:2405.14867)."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.networks.initializers import fan_in
from fewstep.errors import UsageError
from fewstep.ranges import Range
from fewstep.train.data.split import Batch
from fewstep.train.objectives.distribution_matching import DistributionMatching, Draws
from fewstep.train.objectives.objective import ADDED, Example


@dataclass(frozen=True)
class DMD(DistributionMatching):
    """|x - sg[x - w (b - a)]|^2 / 2, with the images a of the teacher and b of the fake score at y = alpha_t x +
    sigma_t eps: its gradient in x is w (b - a).

    With w = (alpha_t / sigma_t)^2 and the exact fake score this is the gradient of the Kullback-Leibler divergence of
    noised generated images from the teacher's.  The regression on pairs of the first paper is left out.

    With `adversarial` the adversarial loss of DMD2 is added, times this weight: a head on the features of the fake
    score tells noised images of the data from generated ones, by logistic regression, and the generator lowers
    softplus(-logit), both at `score_times`.  All updates of a step see the same images of the data.
    """

    adversarial: Annotated[float, Range(0, 100)] = field(default=0.0, metadata=ADDED)

    @property
    def needs_images(self) -> bool:
        return self.adversarial > 0

    @property
    def uses_features(self) -> bool:
        return self.adversarial > 0

    def feature_params(self, features: int, seed: int) -> dict[str, Any]:
        """The head: a hidden layer of the width of the features, and a logit."""
        if not features:
            raise UsageError(
                "dmd.adversarial requires a network with features, as UNet, UNet2D, DiT and MLP have: set it to 0"
            )
        sizes = {"hidden": features, "head": 1}
        keys = jax.random.split(jax.random.key(seed), len(sizes))
        return {
            "discriminator": {
                name: {"kernel": fan_in(key, (features, size)), "bias": jnp.zeros(size)}
                for key, (name, size) in zip(keys, sizes.items(), strict=True)
            }
        }

    def draw(self, model: Model, batch: Batch, key: Array) -> Draws:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn = super().draw(model, batch, key)
        return drawn._replace(images=batch.image) if self.adversarial else drawn

    def match(self, x: Array, real: Array, fake: Array, weight: Array) -> Array:
        goal = jax.lax.stop_gradient(x - weight * (fake - real))
        return jnp.mean((x - goal) ** 2) / 2

    def discriminator_loss(
        self, model: Model, params: dict, examples: Any, features: Array | None
    ) -> tuple[Array | float, dict[str, Array]]:
        """The loss () of the logistic regression, which is 2 log 2 where nothing tells the images apart, times
        `adversarial`, and {"discriminator": without this weight}."""
        if not self.adversarial:
            return 0.0, {}
        _, of_data = self.score(model, params, examples.score._replace(x0=examples.images, eps=examples.eps))
        generated, data = (logits(params["discriminator"], found) for found in (features, of_data))
        loss = jnp.mean(jax.nn.softplus(generated) + jax.nn.softplus(-data))
        return self.adversarial * loss, {"discriminator": loss}

    def generator_loss(self, model: Model, params: dict, generated: Example) -> Array | float:
        if not self.adversarial:
            return 0.0
        _, features = self.score(model, params, generated)
        return self.adversarial * jnp.mean(jax.nn.softplus(-logits(params["discriminator"], features)))


def logits(head: dict, features: Array | None) -> Array:
    """Of features (B, F): log odds (B,) that an image is of the data."""
    hidden, last = head["hidden"], head["head"]
    return (jax.nn.silu(features @ hidden["kernel"] + hidden["bias"]) @ last["kernel"] + last["bias"])[:, 0]
