"""Tiger, the tight-fisted optimizer (Su 2023, kexue.fm/archives/9512): the sign of one average of gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from fewstep.ranges import Count, Fraction, NonNegative, Positive, checked
from fewstep.train.optimizers.chain import chained, clipped
from fewstep.train.optimizers.kinds import EMBEDDING, GAIN, KERNEL, kind
from fewstep.train.optimizers.schedules import Rate, Warmup, cosine_decay, warmed_up

SHRINK = 0.99  # of a parameter whose gradient is not finite, towards its default


class TigerState(NamedTuple):
    """Of `tiger`."""

    steps: jax.Array  # () int32, gradients seen
    mu: Any  # the averages of the gradients


@checked
def tiger(
    steps: Count,
    lr: Rate = 1e-3,
    warmup: Warmup = 100,
    b: Fraction = 0.965,
    weight_decay: NonNegative = 0.01,
    spectral_decay: NonNegative = 0.0,
    clip: Positive = 1.0,
    schedule: Callable = cosine_decay,
    accumulate: Count = 1,
    least_rms: Positive = 0.02,
) -> optax.GradientTransformation:
    """Moves each parameter against the sign of the average of its gradients with decay b, by lr times its own scale.

    The scale of a kernel is its RMS, that of an embedding the RMS of each row, both at least `least_rms`, without which
    kernels that are zero at initialization would never move; that of biases and gains is 1/2.  The weight decay has the
    same scale, and is for kernels and embeddings.

    accumulate: parameters move on every so many-th step, by the mean of the gradients since the last one, each clipped;
    no buffer but the average is needed.

    A parameter whose gradient is not finite keeps its average and shrinks by 1 % towards its default, 1 for gains and 0
    for others, while the other parameters move as usual.  (The training loop skips such steps, so that this is for
    loops of one's own.)
    """

    def init(params):
        return TigerState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None, *, finite, **_):
        kept = jnp.where(state.steps % accumulate == 0, b, 1.0)
        mu = jax.tree.map(
            lambda m, g, ok: jnp.where(ok, kept * m + (1 - b) / accumulate * g, m), state.mu, updates, finite
        )
        return jax.tree_util.tree_map_with_path(step, mu, params), TigerState(state.steps + 1, mu)

    def step(path, m, a):
        if kind(path, a) not in (KERNEL, EMBEDDING):
            return 0.5 * jnp.sign(m)
        row = -1 if kind(path, a) == EMBEDDING else None
        rms = jnp.sqrt(jnp.mean(a * a, row, keepdims=True))
        return jnp.maximum(rms, least_rms) * (jnp.sign(m) + weight_decay * a)

    direction = optax.GradientTransformationExtraArgs(init, cast(Any, update))
    inner = chained(direction, warmed_up(steps, lr, warmup, schedule), clip, spectral=spectral_decay)

    def guarded(updates, state, params=None, **extra):
        finite = jax.tree.map(lambda g: jnp.isfinite(g).all(), updates)
        updates = jax.tree.map(lambda g, ok: jnp.where(ok, g, 0), updates, finite)
        moves = state[1].steps % accumulate == accumulate - 1
        updates, state = inner.update(updates, state, params, finite=finite, **extra)

        def chosen(path, u, a, ok):
            default = 1 if kind(path, a) == GAIN else 0
            return jnp.where(ok, jnp.where(moves, u, 0), (SHRINK - 1) * (a - default))

        return jax.tree_util.tree_map_with_path(chosen, updates, params, finite), state

    return clipped(optax.GradientTransformationExtraArgs(inner.init, guarded), clip)
