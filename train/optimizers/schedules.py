"""Learning-rate schedules: (done) -> share of the rate, where `done` in [0, 1] is the part of the steps after the
warm-up that lie behind."""

from collections.abc import Callable
from typing import Annotated

import jax.numpy as jnp
from jax import Array

from fewstep.ranges import Range, Share, checked

Rate = Annotated[float, Range(above=0, most=10)]
Warmup = Annotated[int, Range(0, 10**9)]


@checked
def cosine_decay(done: Array, last: Share = 0.0) -> Array:
    """Half a cosine from 1 to `last` (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return last + (1 - last) * (1 + jnp.cos(jnp.pi * done)) / 2


@checked
def linear_decay(done: Array, last: Share = 0.0) -> Array:
    """A line from 1 to `last`."""
    return 1 - (1 - last) * done


def constant_rate(done: Array) -> Array:
    """1 throughout."""
    return jnp.ones_like(done)


SCHEDULES = {"cosine_decay": cosine_decay, "linear_decay": linear_decay, "constant_rate": constant_rate}


def warmed_up(steps: int, lr: float, warmup: int, schedule: Callable) -> Callable[[Array], Array]:
    """The learning rate after `count` steps.

    It rises linearly to `lr` in the first `warmup` steps (at most half of all), and then it is lr * schedule(done),
    where done = 1 is one step after the last, so that every step moves.
    """
    warmup = min(warmup, steps // 2)

    def rate(count):
        step = count + 1
        done = jnp.clip((step - warmup) / (steps + 1 - warmup), 0, 1)
        return lr * jnp.where(step < warmup, step / max(warmup, 1), schedule(done))

    return rate
