"""The protocol of an objective, and the examples that most of them share: images noised at random times."""

from collections.abc import Callable
from inspect import isfunction, signature
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.denoiser import INSTANT, Model
from fewstep.errors import UsageError
from fewstep.train.data.split import Batch
from fewstep.train.objectives.times import logit_normal
from fewstep.train.state import State


class Example(NamedTuple):
    """Images and the noise to add; every field has a leading batch axis."""

    x0: Array  # (B, *shape)
    eps: Array  # (B, *shape)
    t: Array  # (B,)
    label: Array | None  # (B,), dropped labels replaced by the null class
    key: Array  # (B,) keys for dropout


class Objective:
    """The base class of objectives: subclass it and implement `__call__`.

    `draw` does all random sampling, so that a batch split into parts gives the same numbers as the whole; `__call__`
    returns the loss, a mean over the examples.  The training loop reads the attributes, which subclasses replace:
    `times` by a function (process, key, n) or by a method (self, process, key, n).
    """

    times: Callable = staticmethod(logit_normal)  # (process, key, n) -> (n,) times
    label_drop: float = 0.1  # fraction of labels replaced by the null class, if the model has one, for guidance by it

    capabilities: frozenset = frozenset({INSTANT})  # what the network learns, as in `Model.capabilities`
    trainable_part: str | None = None  # the part of the network that is trained; None: all of it
    trains_variance: bool = False  # whether it trains the second output of the network
    needs_pairs: bool = False  # whether it trains on pairs of noise and image

    @property
    def needs_teacher(self) -> bool:
        """Whether the initial weights are kept, frozen, in state.frozen["teacher"]."""
        return False

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        times = vars(cls).get("times")
        if isfunction(times) and "self" not in signature(times).parameters:
            cls.times = staticmethod(times)

    def extra_params(self) -> dict[str, Any]:
        """Initial values of parameters that are trained with those of the network, {group: pytree}."""
        return {}

    def draw(self, model: Model, batch: Batch, key: Array) -> Any:
        """batch.image (B, *shape), batch.label (B,) or None, one key -> examples with a leading batch axis."""
        if model.variance is not None and not self.trains_variance:
            raise UsageError(
                "this objective does not train a second output: set train.variance = None, or use @second_moment() or "
                "@hybrid()"
            )
        x0, n = batch.image, len(batch.image)
        for_times, for_noise, for_labels, for_dropout = jax.random.split(key, 4)
        label = batch.label if model.classes else None
        if label is not None and model.null_class:
            label = jnp.where(jax.random.bernoulli(for_labels, self.label_drop, (n,)), model.classes, label)
        t = self.times(model.process, for_times, n)
        return Example(x0, jax.random.normal(for_noise, x0.shape), t, label, jax.random.split(for_dropout, n))

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """The loss () and metrics {name: ()}; params["net"] are those of the network, state.step the steps taken."""
        raise UsageError(f"{type(self).__name__} needs a method __call__(self, model, params, state, examples)")


def checked(objective: Objective, found: Any) -> tuple[Array, dict[str, Array]]:
    """What an objective returned; raises UsageError unless it is a loss and a dict of metrics, all of them numbers."""
    pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)
    if not pair or any(jnp.shape(value) for value in (found[0], *found[1].values())):
        raise UsageError(
            f"an objective returns the loss and a dict of metrics, all of them numbers: {type(objective).__name__} "
            f"returned {jax.tree.map(jnp.shape, found)} (the shapes)"
        )
    return found
