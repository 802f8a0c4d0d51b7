"""The one loop that runs every table."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import multihost_utils

from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.denoiser import Cond, DenoiserLike
from fewstep.diffusion.predict import predict, predict_shape
from fewstep.samplers import row_noise
from fewstep.samplers.checks import check_arguments, check_capabilities, check_variance_known
from fewstep.samplers.start import Seeds, as_seeds, first_state, start_scale
from fewstep.samplers.tableau import Tableau, pad

# Tables and records are padded to multiples of these, so that all step counts share a compilation, and all samplers
# with memory: unused memory costs one multiply-add over the images per row.
ROWS, HISTORY, KEPT = 1024, 4, 8


class Trajectory(NamedTuple):
    """The state before each row and the clean image predicted from it, (N, B, ...) each."""

    x: jax.Array
    x0: jax.Array


class _Static(NamedTuple):
    """The static arguments of the compiled loop."""

    spread: bool  # some row needs Pred.var
    stretch: bool  # some row needs Pred.range
    jumps: bool
    path: bool  # some row's noise is a part of the Brownian path
    shape: tuple[int, ...]
    trajectory: bool
    kept: int = 0  # how many predictions are recorded
    unroll: bool = False  # whether the rows are compiled one after the other, not as a loop


@overload
def draw(
    den: DenoiserLike, table: Tableau, seeds: Seeds, shape: Sequence[int], *, cond: Cond = ...,
    start: AnyArray | None = ..., trajectory: Literal[False] = ...,
) -> jax.Array: ...  # fmt: skip


@overload
def draw(
    den: DenoiserLike, table: Tableau, seeds: Seeds, shape: Sequence[int], *, cond: Cond = ...,
    start: AnyArray | None = ..., trajectory: Literal[True],
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
) -> jax.Array | tuple[jax.Array, Trajectory]:
    """Images of the given seeds, (B, *shape): runs the table on the denoiser, in float32 (float64 under x64).

    An image depends only on its seed (a whole number below 2^32) and its row of `cond`, never on its batch.  `start`
    (B, *shape) replaces the initial noise.  The noise of rows with `Row.path` is drawn from the image's Brownian path,
    which tables of different step counts share.  With `trajectory` it returns (images, Trajectory), and is
    differentiable.

    Raises UsageError, before compilation, if the denoiser lacks a capability that the table requires, and for shapes
    and labels that do not fit.
    """
    static = _Static(*_requirements(table), tuple(shape), trajectory)
    return _checked_run(static, den, table, seeds, cond, start)


def recorded(
    den: DenoiserLike, table: Tableau, seeds: Seeds, shape: Sequence[int], calls: Sequence[int], *, cond: Cond = Cond(),
    start: AnyArray | None = None,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """`draw`, and the clean images predicted at some of its calls, which count from 0: (images (B, *shape), x0
    (len(calls), B, *shape)).  As in `draw`, all step counts share a compilation."""
    kept = -(-len(calls) // KEPT) * KEPT
    slots = np.full(_padded(table)[0], kept, np.int32)
    slots[list(calls)] = np.arange(len(calls))
    static = _Static(*_requirements(table), tuple(shape), trajectory=False, kept=kept)
    images, record = _checked_run(static, den, table, seeds, cond, start, slots)
    return images, record[: len(calls)]


def _checked_run(static, den, table, seeds, cond, start, slots=None):
    """Run a table, padded unless its whole trajectory is returned, after all checks."""
    on_device = isinstance(seeds, Tracer) or (isinstance(seeds, jax.Array) and seeds.dtype == jnp.uint32)
    keyed: Any = seeds if on_device else as_seeds(seeds)
    check_capabilities(den, table)
    check_arguments(den, len(keyed), static.shape, cond, start)
    rows, scale = np.int32(table.nfe), start_scale(den.process, table)
    table = table if static.trajectory else pad(table, *_padded(table))
    return _run(static, den, table, rows, scale, keyed, cond, start, slots)


def replay(den: DenoiserLike, table: Tableau, start: AnyArray, cond: Cond = Cond()) -> jax.Array:
    """The images of a table without noise from initial states (B, ...): `draw` for coefficients that are traced, in
    which it is differentiable, and for a denoiser that is."""
    static = _Static(False, False, bool(np.isfinite(table.s).any()), False, tuple(start.shape[1:]), True)
    seeds = np.zeros(len(start), np.uint32)
    return _run(static, den, table, np.int32(len(table.t)), np.float64(1.0), seeds, cond, start)[0]


def unrolled(den: DenoiserLike, table: Tableau, seeds: Seeds, start: AnyArray, cond: Cond = Cond()) -> jax.Array:
    """The images of a short table from initial states (B, ...), for gradients with respect to the network.

    Its rows are compiled one after the other: in a loop, even of one row, the gradient of a U-Net takes XLA on CPU 25
    times as long.
    """
    static = _Static(*_requirements(table), tuple(start.shape[1:]), trajectory=True, unroll=True)
    return _checked_run(static, den, table, seeds, cond, start)


def program(den: DenoiserLike, table: Tableau) -> tuple:
    """A key of the compiled program: draws of equal batches with equal keys share a compilation (settings of levers are
    traced floats)."""
    return jax.tree.structure(den), _padded(table), _requirements(table)


def remembering(table: Tableau) -> Tableau:
    """The table with the memory of most samplers, even if it is unused, so that they share a compilation."""
    return pad(table, table.nfe, max(table.history, HISTORY))


def _padded(table: Tableau) -> tuple[int, int]:
    """The numbers of rows and remembered predictions of the compiled loop."""
    return -(-table.nfe // ROWS) * ROWS, -(-table.history // HISTORY) * HISTORY


def _requirements(table: Tableau) -> tuple[bool, bool, bool, bool]:
    """Whether any row requires Pred.var, Pred.range, a jump, or a Brownian path."""
    spread, stretch = table.spread.any(), (table.stretch != 1).any()
    return bool(spread), bool(stretch), bool(np.isfinite(table.s).any()), bool(np.isfinite(table.path).any())


def draw_many(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
    batch: int = 256,
    sharding: jax.sharding.Sharding | None = None,
) -> np.ndarray:
    """`draw` for more images than fit in memory at once, (B, *shape) on the host: concatenates `draw_batches`."""
    batches = draw_batches(den, table, seeds, shape, cond=cond, start=start, batch=batch, sharding=sharding)
    return np.concatenate(list(batches))


def draw_batches(
    den: DenoiserLike,
    table: Tableau,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
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
        images = fetched(draw(den, table, placed, shape, cond=part, start=begin))
        yield images[: len(seeds) - first]


def batch_of(count: int, batch: int, sharding: jax.sharding.Sharding | None = None) -> int:
    """The batch size of `draw_many`: `count` in equal parts of at most `batch`, rounded up to a multiple of the number
    of devices."""
    batch = -(-count // -(-count // batch))
    if sharding is None:
        return batch
    parts = sharding.num_devices // sharding.shard_shape((sharding.num_devices,))[0]
    return -(-batch // parts) * parts


def fetched(array: Any) -> np.ndarray:
    """The array on the host, also if it is sharded over the devices of several Python processes."""
    return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))


@partial(jax.jit, static_argnums=0)
def _run(static, den: DenoiserLike, table: Tableau, rows, scale, seeds, cond, start, slots=None):
    keys = jax.vmap(jax.random.key)(seeds)
    dtype = jnp.zeros(()).dtype
    table = jax.tree.map(lambda a: jnp.asarray(a, dtype), table)
    x = start
    if start is None:
        x = scale * first_state(den.process, table.t[0], keys, static.shape)
    x = jnp.asarray(x, dtype)
    told = with_keys(cond, keys, 0) if static.spread else cond  # as in a row, which then shares the trace
    expected = predict_shape(den, x, table.t[0], table.t[0] if static.jumps else None, told)
    check_variance_known(static.spread, static.stretch, expected)
    memory = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), expected.memory)
    past = (jnp.zeros_like(x),) * table.past.shape[1]
    step = partial(_row, static, den, cond, table, keys)
    first = x, past, memory
    if static.unroll:
        for i in range(table.t.shape[0]):
            first, _ = step(first, i)
        return first[0]
    if static.trajectory:
        (x, _, _), seen = jax.lax.scan(step, first, jnp.arange(table.t.shape[0]))
        return x, Trajectory(*seen)
    if slots is not None:

        def recording(i, carry):
            at, (_, x0) = step(carry[0], i)
            return at, carry[1].at[slots[i]].set(x0)

        record = jnp.zeros((static.kept + 1, *x.shape), dtype)  # the last slot is of the rows that are not kept
        (x, _, _), record = jax.lax.fori_loop(0, rows, recording, (first, record))
        return x, record
    return jax.lax.fori_loop(0, rows, lambda i, carry: step(carry, i)[0], first)[0]


def _row(static, den: DenoiserLike, cond, table: Tableau, keys, carry, i):
    """One row of the table: the network call, then the update of `Row`; returns what the next row carries, and (x, x0)
    of this one."""
    x, past, memory = carry
    t, s = table.t[i], table.s[i]
    s = jnp.where(jnp.isnan(s), t, s) if static.jumps else None
    told = with_keys(cond, keys, i) if static.spread else cond
    pred = predict(den, x, t, s, told._replace(memory=memory))
    new = table.x[i] * x + table.x0[i] * pred.x0 + table.eps[i] * pred.eps
    for j, m in enumerate(past):
        new = new + table.past[i, j] * m
    quiet = (table.noise[i] == 0) & (table.spread[i] == 0)
    sd = partial(row_noise.deviation, table, i, pred, static.spread, static.stretch)
    # The deviation is computed only where it is used, because its square root has no gradient at 0.
    new = jax.lax.cond(quiet, lambda: new, lambda: new + sd() * row_noise.noise(table, i, keys, x, static.path))
    if past:
        past = (table.keep[i, 0] * pred.x0 + table.keep[i, 1] * pred.eps, *past[:-1])
    return (new, past, pred.memory), (x, pred.x0)


def with_keys(cond: Cond, keys: jax.Array, i: Any) -> Cond:
    """The conditioning at row i, with its keys for levers, from one key per image, independent of all other noise."""
    at_row = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), i))
    return cond._replace(key=at_row(keys))
