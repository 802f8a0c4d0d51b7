"""What all optimizers share: clipping, decay of weights, the learning rate, and training of only a part."""

import math
from collections.abc import Callable, Hashable, Mapping
from inspect import signature
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from fewstep.errors import UsageError
from fewstep.train.optimizers.kinds import KERNEL, kind
from fewstep.train.optimizers.spectral import spectral_decay


class Clipped(optax.GradientTransformationExtraArgs):
    """A transformation that first clips the gradients to a global norm."""

    most: float = math.inf

    def removed(self, norm: jax.Array) -> jax.Array:
        """The share of gradients of a global norm that clipping removes."""
        return jnp.maximum(0.0, 1 - self.most / norm)


def clipped(optimizer: optax.GradientTransformation, most: float) -> Clipped:
    """The optimizer, which clips to the global norm `most`, as one that says so."""
    made = Clipped(*optax.with_extra_args_support(optimizer))
    made.most = most
    return made


def chained(
    direction: optax.GradientTransformation,
    rate: Callable,
    clip: float,
    weight_decay: float = 0.0,
    spectral: float = 0.0,
) -> Clipped:
    """params - rate * (direction of the clipped gradients + weight_decay * kernels + spectral decay).

    The state contains the learning rate of the last step (`optax.inject_hyperparams`).
    """
    decay: Any = optax.stateless(
        lambda updates, params: jax.tree_util.tree_map_with_path(
            lambda path, u, p: u + weight_decay * p if kind(path, p) == KERNEL else u, updates, params
        )
    )
    if spectral:
        decay = optax.chain(decay, spectral_decay(spectral))
    scale_by = cast(Callable[..., optax.GradientTransformation], optax.inject_hyperparams(optax.scale_by_learning_rate))
    return clipped(optax.chain(optax.clip_by_global_norm(clip), direction, decay, scale_by(rate)), clip)


def built(
    optimizer: Callable[..., optax.GradientTransformation], steps: int, heads: Mapping[str, int] | None
) -> optax.GradientTransformation:
    """optimizer(steps), or optimizer(steps, heads=heads) if it has that parameter: `fused_heads` of the network."""
    return optimizer(steps, heads=heads) if "heads" in signature(optimizer).parameters else optimizer(steps)


def train_only(optimizer: optax.GradientTransformation, name: str | None) -> optax.GradientTransformation:
    """The optimizer restricted to `params["net"][name]`: the other parameters are frozen and have no moments.

    None: train all parameters.  Raises UsageError for an optimizer that is not an optax transformation.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise UsageError(f"train.optimizer(steps) must return an optax transformation, such as adam: got {optimizer!r}")
    if name is None:
        return optimizer

    return partitioned({True: optimizer, False: optax.set_to_zero()}, lambda path, _: path[1].key == name, True)


def partitioned(
    optimizers: Mapping[Hashable, optax.GradientTransformation], label: Callable[[tuple, Any], Hashable], rest: Hashable
) -> optax.GradientTransformation:
    """The optimizer `label(path, parameter)` of each parameter; optax asks for one without a parameter too, `rest`."""

    def labels(params):
        # Optax also calls this with a tree without keys when it builds the state.
        return jax.tree_util.tree_map_with_path(lambda path, a: label(path, a) if path else rest, params)

    return optax.partition(optimizers, labels)
