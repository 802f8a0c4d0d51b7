"""Exponential moving averages of the parameters, with one or more decays."""

from typing import Any

import jax
import jax.numpy as jnp


def update(ema: dict, params: Any, step: jax.Array) -> dict:
    """The averages after a step, with decay min(decay, (1 + step) / (10 + step)) to warm up."""

    def move(decay):
        kept = jnp.minimum(float(decay), (1.0 + step) / (10.0 + step))
        # In this form a parameter that does not change keeps its average bit for bit.
        return lambda average, new: average + (1 - kept) * (new - average)

    return {decay: jax.tree.map(move(decay), average, params) for decay, average in ema.items()}
