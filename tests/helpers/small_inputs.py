"""Networks called in one compiled function, and what they are called on."""

import jax
import numpy as np

CALL = jax.jit(lambda apply, params, x, t, d, cond, key=None: apply(params, x, t, d, cond, key), static_argnums=0)
T = np.array([0.1, 0.5, 0.9], np.float32)
LABEL = np.array([0, 1, 2], np.int32)


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def perturbed(params):
    leaves, tree = jax.tree.flatten(params)
    return tree.unflatten([p + 0.1 * normal(p.shape, seed) for seed, p in enumerate(leaves)])
