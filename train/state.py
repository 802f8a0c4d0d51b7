"""The training state."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fewstep.train import ema


class State(NamedTuple):
    """The pytree that a training step updates.

    params, ema and frozen are dicts of named groups ({"net": ...}); ema has one such dict per average (`ema.names`),
    without the copies of the network (`Objective.copies`).  The state has no random key: step k draws from
    fold_in(seed, k).
    """

    step: jax.Array  # () int32, steps taken
    nonfinite_steps: jax.Array  # () int32, consecutive steps with a loss or gradient that was not finite
    params: dict
    ema: dict  # {"0.999": params, ...}
    frozen: dict  # teachers: parameters that are used but never trained
    opt_state: Any
    memory: Any = ()  # what the objective keeps from step to step (`Objective.memory`)

    @property
    def smoothest(self) -> dict:
        """The exponential average with the largest decay."""
        return ema.smoothest(self.ema)


def initial_state(
    params: dict,
    averages: Iterable[str],
    optimizer: optax.GradientTransformation,
    frozen: dict | None = None,
    copies: dict | None = None,
) -> State:
    """The state before the first step; every average starts at the parameters.  copies: groups without an average."""
    kept = {name: jax.tree.map(jnp.copy, params) for name in averages}
    params = params | (copies or {})
    return State(jnp.int32(0), jnp.int32(0), params, kept, frozen or {}, optimizer.init(params))
