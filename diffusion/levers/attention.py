"""Attention over another number of tokens than in training, at unchanged entropy (algorithms.md E6)."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, Lever
from fewstep.diffusion.levers.conditioning import ConditioningLever
from fewstep.diffusion.naming import named
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked


@register_dataclass
@dataclass(frozen=True)
class AttentionScale(ConditioningLever):
    """Attention logits times (log n / log n0)^power, for n tokens and n0 in training."""

    inner: Any
    power: float = 0.0

    def conditioning(self, cond: Cond, count: int, on: bool | Array = True) -> Cond:
        power = jnp.broadcast_to(jnp.where(on, jnp.float32(self.power), 0.0), (count,))
        return cond._replace(attention=power if cond.attention is None else power + cond.attention)


@named
@checked
def attention_scale(power: Annotated[float, Range(-10, 10)] = 0.5) -> Lever:
    """Sharper attention over more tokens than in training.  power: 1/2 in Jin et al. 2023 (arXiv:2306.08645), 1 in
    Su 2021; with 0, or with the number of tokens in training, it is the identity."""
    return partial(_scaled, float(power))


def _scaled(power, den):
    if not den.attends:
        raise UsageError("attention_scale requires a network with attention, and this model's has none")
    return AttentionScale(den, power)
