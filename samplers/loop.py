"""The one loop that runs every table."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from fewstep.diffusion import Linear
from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.denoiser import (
    INSTANT,
    JUMP,
    ZERO,
    Cond,
    DenoiserLike,
    Pred,
    Under,
    names_of,
    predict_shape,
    wrappers,
)
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.process import Process
from fewstep.samplers.tableau import Tableau, pad

# Tables are padded to multiples of these, so that all step counts share a compilation, and all samplers that remember
# anything: an idle memory costs one multiply-add over the images a row.
ROWS, HISTORY = 1024, 4

Seeds = Iterable[int] | AnyArray


class Trajectory(NamedTuple):
    """What happened at each row: the state going in and the clean image predicted there, (N, B, ...) each."""

    x: jax.Array
    x0: jax.Array


class _Static(NamedTuple):
    """What the loop is compiled for."""

    spread: bool  # some row needs Pred.var
    stretch: bool  # some row needs Pred.range
    jumps: bool
    shape: tuple
    noise: str
    trajectory: bool


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
):
    """Images of the given seeds, (B, *shape): the table run on the denoiser, in float32 (float64 under x64).

    An image depends on its seed (a whole number below 2^32) and its row of `cond` alone, never on its batch.  `start`
    (B, *shape) replaces the initial noise.  noise = "path" takes the noise of rows that name an increment of the
    image's Brownian path from that path, so that step counts share it.  With `trajectory` the answer is
    (images, Trajectory), and gradients pass through.

    Raises UsageError, before anything is compiled, for a table that asks the denoiser for what it cannot answer, and
    for shapes and labels that do not fit.
    """
    if noise not in ("fresh", "path"):
        raise UsageError(f"noise is 'fresh' or 'path', not {noise!r}")
    placed = isinstance(seeds, jax.core.Tracer) or (isinstance(seeds, jax.Array) and seeds.dtype == jnp.uint32)
    seeds = seeds if placed else as_seeds(seeds)
    check_capabilities(den, table)
    _check_arguments(den, len(seeds), tuple(shape), cond, start)
    rows, static = table.nfe, _Static(*_asked(table), tuple(shape), noise, trajectory)
    if not trajectory:
        table = pad(table, *_padded(table))
    scale = 1.0 if np.isnan(table.start) else table.start / den.process.sigma(float(table.t[0]))
    return _run(static, den, table, np.int32(rows), np.float64(scale), seeds, cond, start)


def program(den: DenoiserLike, table: Tableau) -> tuple:
    """Draws of equal batches that have this in common share a compilation (levers' settings being floats)."""
    return jax.tree.structure(den), _padded(table), _asked(table)


def _padded(table: Tableau) -> tuple[int, int]:
    """Rows and history of the compiled loop."""
    return -(-table.nfe // ROWS) * ROWS, -(-table.history // HISTORY) * HISTORY


def _asked(table: Tableau) -> tuple[bool, bool, bool]:
    """Whether rows need Pred.var, Pred.range, and jumps."""
    return bool(table.spread.any()), bool((table.stretch != 1).any()), bool(np.isfinite(table.s).any())


def as_seeds(seeds: Seeds) -> np.ndarray:
    """Seeds as uint32; UsageError for what is not a list of whole numbers in [0, 2^32)."""
    seeds = np.asarray(seeds if hasattr(seeds, "shape") else list(seeds))
    if seeds.ndim != 1 or seeds.size == 0 or seeds.dtype.kind not in "iu" or seeds.min() < 0 or seeds.max() >= 2**32:
        raise UsageError("seeds are one or more whole numbers from 0 to 2^32 - 1")
    return seeds.astype(np.uint32)


def noised(process: Process, t: float, seeds: Seeds, images: AnyArray) -> np.ndarray:
    """x_t = alpha_t x0 + sigma_t z of the images x0 (B, ...), with the z that a draw of each seed begins with at t."""
    t, x0 = (jnp.asarray(a, jnp.zeros(()).dtype) for a in (t, images))
    keys = jax.vmap(jax.random.key)(as_seeds(seeds))
    return np.asarray(process.alpha(t) * x0 + _first(process, t, keys, x0.shape[1:]))


def draw_many(
    den,
    table,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    cond: Cond = Cond(),
    start: AnyArray | None = None,
    noise="fresh",
    batch: int = 256,
    sharding: jax.sharding.Sharding | None = None,
) -> np.ndarray:
    """`draw` for more images than fit in memory at once, (B, *shape) on the host: of all `draw_batches`."""
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
):
    """Yields the images of the seeds in equal batches of at most `batch`, on the host.

    The last batch is filled up with repeats, which are left out of what is yielded, so that there is one compilation.
    `sharding` divides a batch, along its first axis, over the devices on which `den` lies; of several processes every
    one makes the same call and gets all images.
    """
    seeds = as_seeds(seeds)
    _check_arguments(den, len(seeds), tuple(shape), cond, start)
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
    """How many images `draw_many` draws at once: `count` in equal parts of at most `batch`, up to what divides over the
    devices."""
    batch = -(-count // -(-count // batch))
    if sharding is None:
        return batch
    parts = sharding.num_devices // sharding.shard_shape((sharding.num_devices,))[0]
    return -(-batch // parts) * parts


def unit_noise(seeds: Seeds, shape: Sequence[int]) -> jax.Array:
    """The z with which draws of the seeds (B,) begin, x = sigma_t z, (B, *shape)."""
    return _first(Linear(), 1.0, jax.vmap(jax.random.key)(seeds), shape)


def _first(process: Process, t: float, keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The initial state of each image at time t."""
    return jax.vmap(lambda key: process.prior(jax.random.fold_in(key, 0), t, shape))(keys)


def fetched(array: Any) -> np.ndarray:
    """On the host, also what is spread over the devices of several processes."""
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
        return x, Trajectory(*seen)
    return jax.lax.fori_loop(0, rows, lambda i, carry: step(carry, i)[0], (x, past, memory))[0]


def _row(static, den: DenoiserLike, cond, table: Tableau, keys, carry, i):
    """One row of the table: the network call, then the update that `Row` states."""
    x, past, memory = carry
    t, s = table.t[i], table.s[i]
    s = jnp.where(jnp.isnan(s), t, s) if static.jumps else None
    pred = den(x, t, s, cond._replace(memory=memory))
    new = table.x[i] * x + table.x0[i] * pred.x0 + table.eps[i] * pred.eps
    for j, m in enumerate(past):
        new = new + table.past[i, j] * m
    quiet = (table.noise[i] == 0) & (table.spread[i] == 0)
    # The deviation is computed where it is used: its square root has no gradient at 0.
    new = jax.lax.cond(
        quiet, lambda: new, lambda: new + _deviation(static, table, i, pred) * _noise(static, table, keys, i, x)
    )
    if past:
        past = (table.keep[i, 0] * pred.x0 + table.keep[i, 1] * pred.eps, *past[:-1])
    return (new, past, pred.memory), ((x, pred.x0) if static.trajectory else None)


def _deviation(static: _Static, table: Tableau, i: jax.Array, pred: Pred) -> jax.Array:
    """sd of row i: a number, or one for every element where the prediction has a say."""
    if not (static.spread or static.stretch):
        return table.noise[i]
    var = table.noise[i] ** 2
    if static.stretch:
        var = var * table.stretch[i] ** (2 * pred.range)
    if static.spread:
        var = var + jnp.minimum(table.spread[i] ** 2 * pred.var, table.cap[i])
    return jnp.sqrt(var)


def _noise(static: _Static, table: Tableau, keys: jax.Array, i: jax.Array, x: jax.Array) -> jax.Array:
    """Standard normal noise of row i, one key an image."""
    fresh = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i + 1), static.shape, x.dtype))
    if static.noise == "fresh":
        return fresh(keys)
    path = table.path[i]
    return jax.lax.cond(jnp.isnan(path[0]), lambda: fresh(keys), lambda: _increments(static, path, keys, x))


def _increments(static: _Static, path: jax.Array, keys: jax.Array, x: jax.Array) -> jax.Array:
    """The increment of each image's Brownian path over [path[1], path[0]], a part of [0, 1], at unit variance."""
    import diffrax  # here: it costs a second to import, and only this option needs it

    low, high = jnp.min(path), jnp.max(path)

    def increment(key):
        image = jax.ShapeDtypeStruct(static.shape, x.dtype)
        tree = diffrax.VirtualBrownianTree(0.0, 1.0, tol=2**-22, shape=image, key=jax.random.fold_in(key, 1))
        return tree.evaluate(low, high)

    return jax.vmap(increment)(keys) / jnp.sqrt(high - low)


def check_capabilities(den: DenoiserLike, table: Tableau) -> None:
    """UsageError where a table asks a denoiser for what it cannot answer; nothing is compiled."""
    jumps = np.isfinite(table.s)
    asked = set()
    if not jumps.all():
        asked.add(INSTANT)
    if jumps.any():
        asked.add(ZERO if (table.s[jumps] == 0).all() and JUMP not in den.capabilities else JUMP)
    if missing := asked - den.capabilities:
        raise UsageError(
            f"this sampler requires {names_of(missing)}, and the model learned only {names_of(den.capabilities)}: "
            f"choose another sampler, or a model trained for it"
        )
    model, t = _network(den, table.t[0])
    if model and model.prediction.det(model.process, t) == 0:
        raise UsageError(
            f"the first call is at t = {t:g}, where alpha = 0 and this model's prediction says nothing about "
            f"x0: start below, as on the grid log_snr"
        )
    if not den.consistent and (table.x.any() or table.past.any()):
        raise UsageError(
            "a lever of this model (cfg_pp, clip_x0 without rebuild) breaks alpha x0 + sigma eps = x, so only samplers "
            "of the ddim form can be used: --sampler ddim, or ddpm"
        )


def _network(den: DenoiserLike, t: float) -> tuple[Any, Any]:
    """The network's own Model under all levers, None for an oracle, and what it takes the time t for."""
    around = wrappers(den)
    for wrapper in around:
        t = wrapper.inner_time(t) if isinstance(wrapper, Under) else t
    return getattr(around[-1].inner if around else den, "model", None), t


def check_variance_known(spread: bool, stretch: bool, expected: Pred) -> None:
    """UsageError where rows need Pred.var (`spread`) or Pred.range (`stretch`), and what is expected has none."""
    if spread and expected.var is None:
        raise UsageError(
            "this sampler needs the variance of x0 given x_t, which this model does not tell: choose another, "
            "calibrate the run (fewstep calibrate), or put the lever curvature around it, after levers that guide"
        )
    if stretch and expected.range is None:
        raise UsageError(
            "this sampler needs a learned range of variances, which this model does not have: choose another, or train "
            "one (train.variance = @LearnedRange())"
        )


def _check_arguments(den: DenoiserLike, count: int, shape: Sequence[int], cond: Cond, start: AnyArray | None) -> None:
    if start is not None and jnp.shape(start) != (count, *shape):
        raise UsageError(f"start has shape {jnp.shape(start)}: {count} seeds of shape {shape} need {(count, *shape)}")
    for name, value in cond._asdict().items():
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(value)} - {(count,)}
        if sizes:
            raise UsageError(f"cond.{name} is for {sizes.pop()} images: there are {count} seeds")
    label = cond.label
    if label is None or isinstance(label, jax.core.Tracer):
        return
    low, high = int(np.min(label)), int(np.max(label))
    if low < 0 or high > den.classes or not den.classes:
        raise UsageError(f"labels {low} to {high} are not among the {den.classes} classes of this model")
