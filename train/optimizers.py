"""Optimizers: (steps) -> optax gradient transformation, and their learning-rate schedules: (done) -> share of the rate,
where `done` in [0, 1] is the part of the steps after the warm-up that lie behind."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from fewstep.errors import UsageError
from fewstep.ranges import Count, Fraction, NonNegative, Positive, Range, Share, checked


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


@checked
def adamw(
    steps: Count,
    lr: Annotated[float, Range(above=0, most=10)] = 1e-3,
    warmup: Annotated[int, Range(0, 10**9)] = 100,
    b1: Fraction = 0.9,
    b2: Fraction = 0.99,
    weight_decay: NonNegative = 0.0,
    clip: Positive = 1.0,
    schedule: Callable = cosine_decay,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with gradient clipping by global norm.

    The learning rate rises linearly to `lr` in the first `warmup` steps (at most half of all), and then it is
    lr * schedule(done), where done = 1 is one step after the last, so that every step moves.  The weight decay is for
    arrays of two or more axes: not for biases and gains.  The state contains the learning rate of the last step
    (`optax.inject_hyperparams`).
    """
    warmup = min(warmup, steps // 2)

    def rate(count):
        step = count + 1
        done = jnp.clip((step - warmup) / (steps + 1 - warmup), 0, 1)
        return lr * jnp.where(step < warmup, step / max(warmup, 1), schedule(done))

    scale_by = cast(Callable[..., optax.GradientTransformation], optax.inject_hyperparams(optax.scale_by_learning_rate))
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.stateless(lambda updates, params: jax.tree.map(partial(_decayed, weight_decay), updates, params)),
        scale_by(rate),
    )


def _decayed(weight_decay, update, param):
    return update + weight_decay * param if param.ndim > 1 else update


def train_only(optimizer: optax.GradientTransformation, name: str | None) -> optax.GradientTransformation:
    """The optimizer restricted to `params["net"][name]`: the other parameters are frozen and have no moments.

    None: train all parameters.  Raises UsageError for an optimizer that is not an optax transformation.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise UsageError(f"train.optimizer(steps) must return an optax transformation, such as adam: got {optimizer!r}")
    if name is None:
        return optimizer

    def labels(params):
        # Optax also calls this with a tree without keys when it builds the state.
        return jax.tree_util.tree_map_with_path(lambda path, _: not path or path[1].key == name, params)

    return optax.partition({True: optimizer, False: optax.set_to_zero()}, labels)
