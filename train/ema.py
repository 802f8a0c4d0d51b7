"""Exponential moving averages of the parameters, several lengths at once."""

import jax
import jax.numpy as jnp


def update(ema, params, step):
    """Each average moved towards params with decay min(decay, (1 + step) / (10 + step)), so that early steps count."""

    def move(decay):
        kept = jnp.minimum(float(decay), (1.0 + step) / (10.0 + step))
        # What does not move stays the same to the last bit.
        return lambda average, new: average + (1 - kept) * (new - average)

    return {decay: jax.tree.map(move(decay), average, params) for decay, average in ema.items()}
