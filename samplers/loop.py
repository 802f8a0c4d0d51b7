"""The one loop that runs every table."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import multihost_utils

from fewstep.diffusion import Linear
from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import (
    Cond,
    DenoiserLike,
    Pred,
    predict_shape,
)
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.checks import check_arguments, check_capabilities, check_variance_known
from fewstep.samplers.tableau import Tableau, pad

# Tables are padded to multiples of these, so that all step counts share a compilation, and all samplers with memory:
# unused memory costs one multiply-add over the images per row.
ROWS, HISTORY = 1024, 4

Seeds = Iterable[int] | AnyArray


class Trajectory(NamedTuple):
    """The state before each row and the clean image predicted from it, (N, B, ...) each."""

    x: jax.Array
    x0: jax.Array


class _Static(NamedTuple):
    """The static arguments of the compiled loop."""

    spread: bool  # some row needs Pred.var
    stretch: bool  # some row needs Pred.range
    jumps: bool
    shape: tuple[int, ...]
    noise: str
    trajectory: bool


@overload
def draw(
    den: DenoiserLike, table: Tableau, seeds: Seeds, shape: Sequence[int], *, cond: Cond = ...,
    start: AnyArray | None = ..., trajectory: Literal[False] = ..., noise: str = ...,
) -> jax.Array: ...  # fmt: skip


@overload
def draw(
    den: DenoiserLike, table: Tableau, seeds: Seeds, shape: Sequence[int], *, cond: Cond = ...,
    start: AnyArray | None = ..., trajectory: Literal[True], noise: str = ...,
) -> tuple[jax.Array, Trajectory]: ...  # fmt: skip


def draw(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
    trajectory: bool = False,
    noise: str = "fresh",
) -> jax.Array | tuple[jax.Array, Trajectory]:
    """Images of the given seeds, (B, *shape): runs the table on the denoiser, in float32 (float64 under x64).

    An image depends only on its seed (a whole number below 2^32) and its row of `cond`, never on its batch.  `start`
    (B, *shape) replaces the initial noise.  noise = "path" draws the noise of rows with `Row.path` from the image's
    Brownian path, so that tables of different step counts share it.  With `trajectory` it returns
    (images, Trajectory), and is differentiable.

    Raises UsageError, before compilation, if the denoiser lacks a capability that the table requires, and for shapes
    and labels that do not fit.
    """
    if noise not in ("fresh", "path"):
        raise UsageError(f"noise is 'fresh' or 'path', not {noise!r}")
    on_device = isinstance(seeds, Tracer) or (isinstance(seeds, jax.Array) and seeds.dtype == jnp.uint32)
    keyed: Any = seeds if on_device else as_seeds(seeds)
    check_capabilities(den, table)
    check_arguments(den, len(keyed), tuple(shape), cond, start)
    rows, static = table.nfe, _Static(*_requirements(table), tuple(shape), noise, trajectory)
    if not trajectory:
        table = pad(table, *_padded(table))
    scale = 1.0 if np.isnan(table.start) else table.start / den.process.sigma(float(table.t[0]))
    return _run(static, den, table, np.int32(rows), np.float64(scale), keyed, cond, start)


def replay(den: DenoiserLike, table: Tableau, start: AnyArray, cond: Cond = Cond()) -> jax.Array:
    """The images of a table without noise or jumps from initial states (B, ...): `draw` for coefficients that are
    traced, in which it is differentiable."""
    static = _Static(False, False, False, tuple(start.shape[1:]), "fresh", True)
    seeds = np.zeros(len(start), np.uint32)
    return _run(static, den, table, np.int32(len(table.t)), np.float64(1.0), seeds, cond, start)[0]


def program(den: DenoiserLike, table: Tableau) -> tuple:
    """A key of the compiled program: draws of equal batches with equal keys share a compilation (settings of levers are
    traced floats)."""
    return jax.tree.structure(den), _padded(table), _requirements(table)


def _padded(table: Tableau) -> tuple[int, int]:
    """The numbers of rows and remembered predictions of the compiled loop."""
    return -(-table.nfe // ROWS) * ROWS, -(-table.history // HISTORY) * HISTORY


def _requirements(table: Tableau) -> tuple[bool, bool, bool]:
    """Whether any row requires Pred.var, Pred.range, or a jump."""
    return bool(table.spread.any()), bool((table.stretch != 1).any()), bool(np.isfinite(table.s).any())


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
    return np.asarray(process.alpha(time) * x0 + _first(process, time, keys, x0.shape[1:]))


def draw_many(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
    noise: str = "fresh",
    batch: int = 256,
    sharding: jax.sharding.Sharding | None = None,
) -> np.ndarray:
    """`draw` for more images than fit in memory at once, (B, *shape) on the host: concatenates `draw_batches`."""
    batches = draw_batches(
        den, table, seeds, shape, cond=cond, start=start, noise=noise, batch=batch, sharding=sharding
    )
    return np.concatenate(list(batches))


def draw_batches(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
    noise: str = "fresh",
    batch: int = 256,
    sharding: jax.sharding.Sharding | None = None,
) -> Iterator[np.ndarray]:
    """Yields the images of the seeds in equal batches of at most `batch`, on the host.

    The last batch is padded with repeats, which are not returned, so that there is one compilation.  `sharding` divides
    a batch, along its first axis, over the devices of `den`; with several Python processes, each makes the same call
    and gets all images.
    """
    seeds = as_seeds(seeds)
    check_arguments(den, len(seeds), tuple(shape), cond, start)
    batch = batch_of(len(seeds), batch, sharding)
    for first in range(0, len(seeds), batch):
        rows = np.minimum(np.arange(first, first + batch), len(seeds) - 1)
        part, begin = jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], (cond, start))
        placed = seeds[rows]
        if sharding is not None:
            placed = jax.make_array_from_callback(placed.shape, sharding, lambda at, seeds=placed: seeds[at])
        images = fetched(draw(den, table, placed, shape, cond=part, start=begin, noise=noise))
        yield images[: len(seeds) - first]


def batch_of(count: int, batch: int, sharding: jax.sharding.Sharding | None = None) -> int:
    """The batch size of `draw_many`: `count` in equal parts of at most `batch`, rounded up to a multiple of the number
    of devices."""
    batch = -(-count // -(-count // batch))
    if sharding is None:
        return batch
    parts = sharding.num_devices // sharding.shard_shape((sharding.num_devices,))[0]
    return -(-batch // parts) * parts


def unit_noise(seeds: AnyArray, shape: Sequence[int]) -> jax.Array:
    """The initial z of draws of the seeds (B,), x = sigma_t z, (B, *shape)."""
    return _first(Linear(), 1.0, jax.vmap(jax.random.key)(seeds), shape)


def _first(process: Process, t: Number, keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The initial state of each image at time t."""
    return jax.vmap(lambda key: process.prior(jax.random.fold_in(key, 0), t, shape))(keys)


def fetched(array: Any) -> np.ndarray:
    """The array on the host, also if it is sharded over the devices of several Python processes."""
    return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))


@partial(jax.jit, static_argnums=0)
def _run(static, den: DenoiserLike, table: Tableau, rows, scale, seeds, cond, start):
    keys = jax.vmap(jax.random.key)(seeds)
    dtype = jnp.zeros(()).dtype
    table = jax.tree.map(lambda a: jnp.asarray(a, dtype), table)
    x = start
    if start is None:
        x = scale * _first(den.process, table.t[0], keys, static.shape)
    x = jnp.asarray(x, dtype)
    expected = predict_shape(den, x, table.t[0], None, cond)
    check_variance_known(static.spread, static.stretch, expected)
    memory = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), expected.memory)
    past = (jnp.zeros_like(x),) * table.past.shape[1]
    step = partial(_row, static, den, cond, table, keys)
    if static.trajectory:
        (x, _, _), seen = jax.lax.scan(step, (x, past, memory), jnp.arange(table.t.shape[0]))
        return x, Trajectory(*seen)  # pyright: ignore[reportOptionalIterable]
    return jax.lax.fori_loop(0, rows, lambda i, carry: step(carry, i)[0], (x, past, memory))[0]


def _row(static, den: DenoiserLike, cond, table: Tableau, keys, carry, i):
    """One row of the table: the network call, then the update of `Row`."""
    x, past, memory = carry
    t, s = table.t[i], table.s[i]
    s = jnp.where(jnp.isnan(s), t, s) if static.jumps else None
    told = with_keys(cond, keys, i) if static.spread else cond
    pred = den(x, t, s, told._replace(memory=memory))
    new = table.x[i] * x + table.x0[i] * pred.x0 + table.eps[i] * pred.eps
    for j, m in enumerate(past):
        new = new + table.past[i, j] * m
    quiet = (table.noise[i] == 0) & (table.spread[i] == 0)
    # The deviation is computed only where it is used, because its square root has no gradient at 0.
    new = jax.lax.cond(
        quiet, lambda: new, lambda: new + _deviation(static, table, i, pred) * _noise(static, table, keys, i, x)
    )
    if past:
        past = (table.keep[i, 0] * pred.x0 + table.keep[i, 1] * pred.eps, *past[:-1])
    return (new, past, pred.memory), ((x, pred.x0) if static.trajectory else None)


def with_keys(cond: Cond, keys: jax.Array, i: Any) -> Cond:
    """The conditioning at row i, with its keys for levers, from one key per image, independent of all other noise."""
    at_row = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), i))
    return cond._replace(key=at_row(keys))


def _deviation(static: _Static, table: Tableau, i: jax.Array, pred: Pred) -> jax.Array:
    """sd of row i: a number, or one per element if it depends on the prediction."""
    if not (static.spread or static.stretch):
        return table.noise[i]
    var = table.noise[i] ** 2
    if static.stretch and pred.range is not None:
        var = var * table.stretch[i] ** (2 * pred.range)
    if static.spread and pred.var is not None:
        var = var + jnp.minimum(table.spread[i] ** 2 * pred.var, table.cap[i])
    return jnp.sqrt(var)


def _noise(static: _Static, table: Tableau, keys: jax.Array, i: jax.Array, x: jax.Array) -> jax.Array:
    """Standard normal noise of row i, with one key per image."""
    fresh = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i + 1), static.shape, x.dtype))
    if static.noise == "fresh":
        return fresh(keys)
    path = table.path[i]
    return jax.lax.cond(jnp.isnan(path[0]), lambda: fresh(keys), lambda: _increments(static, path, keys, x))


def _increments(static: _Static, path: jax.Array, keys: jax.Array, x: jax.Array) -> jax.Array:
    """The increment of each image's Brownian path over [path[1], path[0]], a part of [0, 1], at unit variance."""
    import diffrax  # local, because the import takes a second and only this option needs it

    low, high = jnp.min(path), jnp.max(path)

    def increment(key: jax.Array) -> Any:
        image = jax.ShapeDtypeStruct(static.shape, x.dtype)
        tree = diffrax.VirtualBrownianTree(0.0, 1.0, tol=2**-22, shape=image, key=jax.random.fold_in(key, 1))
        return tree.evaluate(low, high)

    return jax.vmap(increment)(keys) / jnp.sqrt(high - low)
