"""Score identity distillation (Zhou et al. 2024, arXiv:2404.04057)."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from jax import Array

from fewstep.ranges import Range
from fewstep.train.objectives.distribution_matching import DistributionMatching


@dataclass(frozen=True)
class SiD(DistributionMatching):
    """w <a - b, (a - x) - alpha (a - b)>, with the images a of the teacher and b of the fake score at y = alpha_t x +
    sigma_t eps; its gradient passes through x and, in a and b, through y.

    E <g(y), x> = E <g(y), b(y)> for every g and the exact fake score, the score identity, so that this is the Fisher
    divergence w |a - b|^2 in a form that tells how b itself changes with x: with alpha = 1/2 and a constant w its
    gradient is half of that of the divergence.
    """

    alpha: Annotated[float, Range(0, 10)] = 1.2

    def match(self, x: Array, real: Array, fake: Array, weight: Array) -> Array:
        apart = real - fake
        return jnp.mean(weight * apart * ((real - x) - self.alpha * apart))
