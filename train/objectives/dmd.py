"""Distribution matching distillation (Yin et al. 2023, arXiv:2311.18828; 2024, arXiv:2405.14867)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.train.objectives.distribution_matching import DistributionMatching


@dataclass(frozen=True)
class DMD(DistributionMatching):
    """|x - sg[x - w (b - a)]|^2 / 2, with the images a of the teacher and b of the fake score at y = alpha_t x +
    sigma_t eps: its gradient in x is w (b - a).

    With w = (alpha_t / sigma_t)^2 and the exact fake score this is the gradient of the Kullback-Leibler divergence of
    noised generated images from the teacher's.  The adversarial loss of DMD2 is left out, as is the regression on pairs
    of DMD.
    """

    def match(self, x: Array, real: Array, fake: Array, weight: Array) -> Array:
        goal = jax.lax.stop_gradient(x - weight * (fake - real))
        return jnp.mean((x - goal) ** 2) / 2
