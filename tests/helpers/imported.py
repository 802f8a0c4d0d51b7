"""Foreign models as functions of fewstep, for parity."""

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.denoiser import JUMP, Cond
from fewstep.diffusion.networks import abstract, one_key
from fewstep.zoo.layout import exported, imported


def loaded(found):
    """(apply, params) of what an importer found."""
    more = {"variance": True} if found.variance else {}
    more |= {"jumps": True} if JUMP in found.objective.capabilities else {}
    apply, shapes = abstract(lambda: found.network(found.shape, found.classes, rngs=one_key(), **more))
    return apply, imported(found.leaves, found.arrays, shapes)


def output(found, x, t, label=None, d=None):
    """The raw output of the network for x (B, H, W, C) and the times it is told, (B,), at the highest precision."""
    apply, params = loaded(found)
    cond = Cond(None if label is None else jnp.asarray(label, jnp.int32))
    with jax.default_matmul_precision("highest"):
        call = jax.jit(lambda params, x, t: apply(params, x, t, d, cond))
        return np.asarray(call(params, jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32)))


def assert_close(ours, theirs, share=1e-5):
    """Equal to a share of the largest number."""
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).max() <= share * abs(theirs).max()


def assert_exports(found):
    """The foreign arrays come back bit for bit from our parameters alone, but for those that they do not hold."""
    _, params = loaded(found)
    given = {name: np.array(array) for name, array in found.arrays.items()}
    blank = {name: np.zeros_like(array) for name, array in given.items()}
    back = exported({path: leaf for path, leaf in found.leaves.items()}, params, blank)
    used = {name for leaf in found.leaves.values() for name in (*leaf.names, *leaf.copies)}
    for name in used & given.keys():
        np.testing.assert_array_equal(back[name], given[name], err_msg=name)
    return set(given) - used
