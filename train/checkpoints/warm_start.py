"""InitialWeights with the parameters of another run instead of fresh ones."""

import jax

from fewstep.diffusion.errors import UsageError


def unknown(net, found) -> list[str]:
    """The names of the parameters of a network that are not among those found: both trees of arrays, or of shapes.

    Raises UsageError where one is there with another shape, and where none is.
    """
    ours, theirs = _named(net), _named(found)
    for name in ours.keys() & theirs.keys():
        if ours[name].shape != theirs[name].shape:
            raise UsageError(
                f"{name} has shape {theirs[name].shape} there and {ours[name].shape} in the config: it needs the same "
                f"network"
            )
    if not ours.keys() & theirs.keys():
        raise UsageError("none of the network's parameters are there: it needs the same network")
    return [name for name in ours if name not in theirs]


def with_weights(state, found):
    """The state before the first step, with the parameters found, its averages, and a teacher, at the same."""
    theirs = _named(found)

    def taken(tree):
        leaves, shape = jax.tree_util.tree_flatten_with_path(tree)
        # A copy for each tree: the step donates what it is given.
        return shape.unflatten(
            [jax.device_put(theirs.get(_name(path), a), a.sharding, may_alias=False) for path, a in leaves]
        )

    def group(params):
        return params | {"net": taken(params["net"])}

    kept = {
        name: {decay: group(params) for decay, params in getattr(state, name).items()} for name in ("ema", "frozen")
    }
    return state._replace(params=group(state.params), **kept)


def _named(tree):
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")
