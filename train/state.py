"""The training state."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class State(NamedTuple):
    """The pytree that a training step updates.

    params, ema and frozen are dicts of named groups ({"net": ...}); ema has one such dict per decay.  The state has no
    random key: step k draws from fold_in(seed, k).
    """

    step: jax.Array  # () int32, steps taken
    nonfinite_steps: jax.Array  # () int32, consecutive steps with a loss or gradient that was not finite
    params: dict
    ema: dict  # {"0.999": params, ...}
    frozen: dict  # teachers: parameters that are used but never trained
    opt_state: Any


def initial_state(
    params: dict, decays: Iterable[float], optimizer: optax.GradientTransformation, frozen: dict | None = None
) -> State:
    """The state before the first step; every EMA starts at the parameters."""
    ema = {str(decay): jax.tree.map(jnp.copy, params) for decay in decays}
    return State(jnp.int32(0), jnp.int32(0), params, ema, frozen or {}, optimizer.init(params))
