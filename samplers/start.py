"""The initial states of draws: the noise of each seed."""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion import Linear
from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.tableau import Tableau

Seeds = Iterable[int] | AnyArray


def as_seeds(seeds: Seeds) -> np.ndarray:
    """Seeds as uint32; raises UsageError unless they are a list of whole numbers in [0, 2^32)."""
    array = np.asarray(list(seeds) if isinstance(seeds, Iterable) and not hasattr(seeds, "shape") else seeds)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= 2**32:
        raise UsageError("seeds are one or more whole numbers from 0 to 2^32 - 1")
    return array.astype(np.uint32)


def noised(process: Process, t: Number, seeds: Seeds, images: AnyArray) -> np.ndarray:
    """x_t = alpha_t x0 + sigma_t z of the images x0 (B, ...), with the initial z of a draw of each seed at t."""
    time, x0 = (jnp.asarray(a, jnp.zeros(()).dtype) for a in (t, images))
    keys = jax.vmap(jax.random.key)(as_seeds(seeds))
    return np.asarray(process.alpha(time) * x0 + first_state(process, time, keys, x0.shape[1:]))


def started(process: Process, table: Tableau, seeds: AnyArray, shape: Sequence[int]) -> jax.Array:
    """The initial states of draws of the seeds (B,) by a table, (B, *shape)."""
    return start_scale(process, table) * initial(process, table.t[0], seeds, shape)


def start_scale(process: Process, table: Tableau) -> np.float64:
    """The standard deviation of the initial state of a table, relative to that of the prior at its first time."""
    return np.float64(1.0 if np.isnan(table.start) else table.start / process.sigma(float(table.t[0])))


def initial(process: Process, t: Number, seeds: AnyArray, shape: Sequence[int]) -> jax.Array:
    """The initial states of draws of the seeds (B,) at time t, (B, *shape)."""
    return first_state(process, t, jax.vmap(jax.random.key)(seeds), shape)


def unit_noise(seeds: AnyArray, shape: Sequence[int], process: Process = Linear()) -> jax.Array:
    """The initial eps of draws of the seeds (B,), x = sigma_t eps, (B, *shape)."""
    keys = jax.vmap(jax.random.key)(seeds)
    return jax.vmap(lambda key: process.noise(jax.random.fold_in(key, 0), (1, *shape))[0])(keys)


def first_state(process: Process, t: Number, keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The initial state of each image at time t."""
    return jax.vmap(lambda key: process.prior(jax.random.fold_in(key, 0), t, shape))(keys)
