"""Decay of the spectral norm of kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fewstep.train.optimizers.kinds import KERNEL, kind

FIRST = 10  # power iterations on the initial kernels


def spectral_decay(strength: float) -> optax.GradientTransformation:
    """Adds the gradient of strength / 2 * sigma_1^2 of each kernel W, flattened to (inputs, outputs): strength *
    W v v^T, where sigma_1 is the largest singular value and v its right singular vector.

    Weight decay would add strength * W: this is the part of it along the largest singular value, and the others do not
    decay.  v is stored, (1, ..., outputs), and refined by one power iteration, v <- W^T W v / |W^T W v|, per step.
    """

    def init(params):
        return jax.tree_util.tree_map_with_path(begin, params)

    def begin(path, kernel):
        if kind(path, kernel) != KERNEL:
            return optax.MaskedNode()
        start = np.random.default_rng(0).standard_normal(kernel.shape[-1])
        v = jnp.asarray(start / np.linalg.norm(start), kernel.dtype)
        for _ in range(FIRST):
            v = refined(_matrix(kernel), v)
        return v.reshape(*[1] * (kernel.ndim - 1), -1)

    def update(updates, state, params=None):
        vectors = jax.tree_util.tree_map_with_path(
            lambda path, w, v: refined(_matrix(w), v.ravel()).reshape(v.shape) if kind(path, w) == KERNEL else v,
            params,
            state,
        )
        updates = jax.tree_util.tree_map_with_path(
            lambda path, u, w, v: u + strength * top(w, v.ravel()) if kind(path, w) == KERNEL else u,
            updates,
            params,
            vectors,
        )
        return updates, vectors

    def top(kernel, v):
        """W v v^T."""
        return jnp.outer(_matrix(kernel) @ v, v).reshape(kernel.shape)

    return optax.GradientTransformation(init, update)


def refined(matrix: jax.Array, v: jax.Array) -> jax.Array:
    """One power iteration on matrix^T matrix; v itself where that is zero."""
    image = matrix.T @ (matrix @ v)
    norm = jnp.linalg.norm(image)
    return jnp.where(norm > 0, image / jnp.where(norm > 0, norm, 1), v)


def _matrix(kernel):
    return kernel.reshape(-1, kernel.shape[-1])
