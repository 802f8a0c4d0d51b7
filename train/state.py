"""Everything that training carries from one step to the next."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class State(NamedTuple):
    """params, ema and frozen are dicts of named groups ({"net": ...}); ema has one such dict per decay.

    Randomness is not carried: step k draws from fold_in(seed, k).
    """

    step: jax.Array  # () int32, steps taken
    nonfinite_steps: jax.Array  # () int32, steps in a row whose loss or gradient was not finite
    params: dict
    ema: dict  # {"0.999": params, ...}
    frozen: dict  # teachers: parameters that are used and never trained
    opt_state: Any


def initial(params, decays, optimizer, frozen=None) -> State:
    """The state before the first step; every EMA starts at the parameters themselves."""
    ema = {str(decay): jax.tree.map(jnp.copy, params) for decay in decays}
    return State(jnp.int32(0), jnp.int32(0), params, ema, frozen or {}, optimizer.init(params))
