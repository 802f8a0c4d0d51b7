"""Amos: weight decay that adapts to the scale which each parameter should have (Tian & Parikh 2022,
arXiv:2210.11693)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fewstep.ranges import Count, Fraction, NonNegative, Positive, checked
from fewstep.train.optimizers.chain import chained
from fewstep.train.optimizers.kinds import BIAS, KERNEL, inner_axes, kind
from fewstep.train.optimizers.schedules import Rate, Warmup, constant_rate, warmed_up

ZETA = 0.25  # how fast the factors c and d fall


class AmosState(NamedTuple):
    """Of `amos`; v and b have one number for each group of `kinds.inner_axes`."""

    steps: jax.Array  # () int32, taken
    v: Any  # averages of the mean squared gradients
    b: Any  # accumulated decay


@checked
def amos(
    steps: Count,
    lr: Rate = 1e-2,
    warmup: Warmup = 100,
    b1: Fraction = 0.9,
    b2: Fraction = 0.999,
    spectral_decay: NonNegative = 0.0,
    clip: Positive = 1.0,
    schedule: Callable = constant_rate,
) -> optax.GradientTransformation:
    """Amos, whose learning rates and weight decay fall by themselves; lr is about 1 / sqrt(batches of an epoch).

    With the expected scale eta of a trained parameter a (1 for gains and embeddings, 1/2 for biases, 1 / sqrt(inputs)
    for kernels), the average v of g^2 and r = 1 / v:

        c = (1 + lr^(1/2) b / 4)^(-1/2)         d = (1 + (lr eta)^(1/2) b / 4)^(-1)
        gamma = c lr^2 r mean(g^2)              b <- b + gamma (1 + b)
        a <- a - d (lr eta r^(1/2) g + gamma a / 2)

    and the whole update is averaged with decay b1.  The means are over groups of `kinds.inner_axes`, so that v and b
    take little memory.
    """
    rate = warmed_up(steps, lr, warmup, schedule)
    direction = optax.chain(scale_by_amos(rate, b2), optax.ema(b1, debias=False))
    return chained(direction, rate, clip, spectral=spectral_decay)


def scale_by_amos(rate: Callable, b2: float) -> optax.GradientTransformation:
    """The update of Amos over the learning rate, rate(steps taken)."""

    def init(params):
        def zeros():
            return jax.tree_util.tree_map_with_path(lambda path, a: jnp.zeros_like(_mean(path, a)), params)

        return AmosState(jnp.int32(0), zeros(), zeros())

    def update(updates, state, params=None):
        xi, count = rate(state.steps), state.steps + 1
        corrected = -jnp.expm1(count * math.log(b2)) if b2 else 1.0  # 1 - b2^count, of which float32 would lose digits
        square = jax.tree_util.tree_map_with_path(lambda path, g: _mean(path, g * g), updates)
        v = optax.tree.update_moment(square, state.v, b2, 1)
        r = jax.tree.map(lambda v: corrected / jnp.maximum(v, 1e-30), v)

        def decay(b, r, g2):
            """gamma / xi, which is 0 where the rate is."""
            return xi * r * g2 / jnp.sqrt(1 + ZETA * jnp.sqrt(xi) * b)

        def step(path, g, a, r, b, gamma):
            eta = _scale(path, a)
            d = 1 / (1 + ZETA * jnp.sqrt(xi * eta) * b)
            return d * (eta * jnp.sqrt(r) * g + gamma / 2 * a)

        gamma = jax.tree.map(decay, state.b, r, square)
        moved = jax.tree_util.tree_map_with_path(step, updates, params, r, state.b, gamma)
        return moved, AmosState(count, v, jax.tree.map(lambda b, gamma: b + xi * gamma * (1 + b), state.b, gamma))

    return optax.GradientTransformation(init, update)


def _mean(path, a):
    return jnp.mean(a, inner_axes(path, a), keepdims=True)


def _scale(path, a):
    """eta."""
    return {BIAS: 0.5, KERNEL: math.prod(a.shape[:-1]) ** -0.5}.get(kind(path, a), 1.0)
