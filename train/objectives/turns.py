"""Two networks in one training: an optimizer for each, one of which waits while the other catches up."""

from collections.abc import Hashable, Mapping

import jax
import jax.numpy as jnp
import optax

from fewstep.train.optimizers.chain import partitioned


def by_group(optimizers: Mapping[Hashable, optax.GradientTransformation], rest: str) -> optax.GradientTransformation:
    """The optimizer of each group of the parameters; groups that are not named have that of the group `rest`."""
    return partitioned(optimizers, lambda path, _: path[0].key if path[0].key in optimizers else rest, rest)


def waiting(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer with steps in which nothing happens, not even to its moments and its learning rate: those without
    any gradient."""

    def update(updates, state, params=None):
        turn = jnp.any(jnp.stack([jnp.any(a != 0) for a in jax.tree.leaves(updates)]))
        return jax.lax.cond(turn, optimizer.update, lambda still, state, _: (still, state), updates, state, params)

    return optax.GradientTransformation(optimizer.init, update)
