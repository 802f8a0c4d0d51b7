"""Optimizers: (steps) -> optax gradient transformation."""

from collections.abc import Callable
from typing import cast

import jax
import optax


def adamw(
    steps: int,
    lr: float = 1e-3,
    warmup: int = 100,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.0,
    clip: float = 1.0,
) -> optax.GradientTransformation:
    """AdamW with gradient clipping by global norm, linear warmup and cosine decay to 0 at `steps`.

    Its state contains the learning rate of the last step (`optax.inject_hyperparams`).
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, min(warmup, steps // 2), steps)
    scale_by = cast(Callable[..., optax.GradientTransformation], optax.inject_hyperparams(optax.scale_by_learning_rate))
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay),
        scale_by(schedule),
    )


def train_only(optimizer: optax.GradientTransformation, name: str | None) -> optax.GradientTransformation:
    """The optimizer restricted to `params["net"][name]`: the other parameters are frozen and have no moments.

    None: train all parameters.
    """
    if name is None:
        return optimizer

    def labels(params):
        # Optax also calls this with a tree without keys when it builds the state.
        return jax.tree_util.tree_map_with_path(lambda path, _: not path or path[1].key == name, params)

    return optax.partition({True: optimizer, False: optax.set_to_zero()}, labels)
