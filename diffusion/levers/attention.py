"""Attention over another number of tokens than in training, at the entropy it had (algorithms.md E6)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite
from fewstep.diffusion.levers.conditioning import ConditioningLever


@register_dataclass
@dataclass(frozen=True)
class AttentionScale(ConditioningLever):
    """Logits of attention over n tokens, n0 in training, times (log n / log n0)^power."""

    inner: Any
    power: float = 0.0

    def tell(self, cond, count, on=True):
        power = jnp.broadcast_to(jnp.where(on, jnp.float32(self.power), 0.0), (count,))
        return cond._replace(attention=power if cond.attention is None else power + cond.attention)


def attention_scale(power=0.5):
    """Sharper attention over more tokens than in training; power 1/2 of Jin et al. 2023 (arXiv:2306.08645), 1 of
    Su 2021; 0, or as many tokens as in training, changes nothing."""
    finite("attention_scale", power=power)
    return partial(_scaled, float(power))


def _scaled(power, den):
    if not den.attends:
        raise UsageError("attention_scale is for networks with attention, and this model's has none")
    return AttentionScale(den, power)
