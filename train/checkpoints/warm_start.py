"""Initial weights from another run."""

from typing import Any

import jax

from fewstep.errors import UsageError
from fewstep.train.state import State


def missing_parameters(net: Any, found: Any) -> list[str]:
    """The names of parameters in `net` that are not in `found`; both are trees of arrays or of shapes.

    Raises UsageError if a parameter has another shape in `found`, or if the trees have no parameter in common.
    """
    ours, theirs = _named(net), _named(found)
    for name in ours.keys() & theirs.keys():
        if ours[name].shape != theirs[name].shape:
            raise UsageError(
                f"{name} has shape {theirs[name].shape} in the other run and {ours[name].shape} in the config: "
                f"use the same network"
            )
    if not ours.keys() & theirs.keys():
        raise UsageError("the other run has none of the network's parameters: use the same network")
    return [name for name in ours if name not in theirs]


def with_weights(state: State, found: Any) -> State:
    """The initial state with the parameters `found`, also in its averages, and in its teacher and the copies of the
    network (groups of the same structure), if it has any."""
    theirs, network = _named(found), jax.tree.structure(state.params["net"])

    def replaced(tree):
        leaves, shape = jax.tree_util.tree_flatten_with_path(tree)
        # One copy per tree: the step donates its arguments.
        return shape.unflatten(
            [jax.device_put(theirs.get(_name(path), a), a.sharding, may_alias=False) for path, a in leaves]
        )

    def groups(params):
        return {name: replaced(a) if jax.tree.structure(a) == network else a for name, a in params.items()}

    ema = {decay: groups(params) for decay, params in state.ema.items()}
    frozen = {name: groups(params) for name, params in state.frozen.items()}
    return state._replace(params=groups(state.params), ema=ema, frozen=frozen)


def _named(tree):
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")
