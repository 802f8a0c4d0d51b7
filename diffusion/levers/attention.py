"""Attention over another number of tokens than in training, at the entropy it had (algorithms.md E6)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from diffusion.denoiser import Cond, Wrapper
from diffusion.levers.checks import finite


@register_dataclass
@dataclass(frozen=True)
class AttentionScale(Wrapper):
    """Logits of attention over n tokens, n0 in training, times (log n / log n0)^power."""

    inner: Any
    power: float = 0.0

    def __call__(self, x, t, s=None, cond=Cond()):
        power = self.power if cond.attention is None else self.power + cond.attention
        return self.inner(x, t, s, cond._replace(attention=jnp.broadcast_to(jnp.float32(power), (len(x),))))


def attention_scale(power=0.5):
    """Sharper attention over more tokens than in training; power 1/2 of Jin et al. 2023 (arXiv:2306.08645), 1 of
    Su 2021; 0, or as many tokens as in training, changes nothing."""
    finite("attention_scale", power=power)
    return partial(_scaled, float(power))


def _scaled(power, den):
    if not den.attends:
        raise ValueError("attention_scale is for networks with attention, and this model's has none")
    return AttentionScale(den, power)
