"""The protocol of an objective, and the examples that most of them share: images noised at random times."""

from collections.abc import Callable, Mapping
from inspect import isfunction, signature
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from fewstep.diffusion.denoiser import INSTANT, Model
from fewstep.diffusion.variance import Variance
from fewstep.errors import UsageError
from fewstep.train.data.split import Batch
from fewstep.train.objectives.times import logit_normal
from fewstep.train.optimizers import train_only
from fewstep.train.state import State

ADDED = {"added": True}  # metadata of a field of an objective that runs of before do not know (`train.run.parts`)


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
    auxiliary: Variance | None = None  # a second output that it adds to the network
    needs_pairs: bool = False  # whether it trains on pairs of noise and image
    needs_images: bool = True  # whether it trains on images of the data
    copies: tuple[str, ...] = ()  # groups of parameters that begin as the network's, and are trained beside them

    @property
    def whole_batch(self) -> bool:
        """Whether its loss is not a mean over examples, so that a batch has no parts."""
        return False

    @property
    def needs_teacher(self) -> bool:
        """Whether the initial weights are kept, frozen, in state.frozen["teacher"]."""
        return False

    @property
    def trained_calls(self) -> int | None:
        """The number of network calls that images are drawn in during training, `Model.calls`; None: any."""
        return None

    @property
    def requires(self) -> frozenset[str]:
        """What the run that training starts from must have learned; empty: it may start from fresh weights."""
        return frozenset()

    @property
    def trained_features(self) -> list[list[str]]:
        """[name, digest] of each kind of features that it trains on, so that distances on them are no evidence."""
        return []

    @property
    def guided(self) -> float:
        """The largest scale of guidance that the network gets as an input; 0: none."""
        return 0.0

    @property
    def further(self) -> int:
        """How many updates by `loss_of_copies` precede each one by the loss, in the same step with other examples."""
        return 0

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        times = vars(cls).get("times")
        if isfunction(times) and "self" not in signature(times).parameters:
            cls.times = staticmethod(times)

    @property
    def uses_features(self) -> bool:
        """Whether it trains parameters on the features of the network, `feature_params`."""
        return False

    def extra_params(self) -> dict[str, Any]:
        """Initial values of parameters that are trained with those of the network, {group: pytree}."""
        return {}

    def feature_params(self, features: int, seed: int) -> dict[str, Any]:
        """Those that work on the features of the network, of which there are so many, 0 if it returns none."""
        return {}

    def optimizer(
        self, made: optax.GradientTransformation, steps: int, heads: Mapping[str, int] | None = None
    ) -> optax.GradientTransformation:
        """The optimizer of all groups of parameters; `made` is that of the experiment, for so many steps, and `heads`
        the `fused_heads` of the network."""
        return train_only(made, self.trainable_part)

    def memory(self) -> dict[str, Any]:
        """The initial value of what it keeps from step to step in `State.memory`; then `__call__` returns the next one
        as a third value."""
        return {}

    def draw(self, model: Model, batch: Batch, key: Array) -> Any:
        """batch.image (B, *shape), batch.label (B,) or None, one key -> examples with a leading batch axis; their noise
        is batch.eps (B, *shape) if that is given."""
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
        eps = model.process.noise(for_noise, x0.shape) if batch.eps is None else batch.eps
        return Example(x0, eps, t, label, jax.random.split(for_dropout, n))

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Any, ...]:
        """The loss () and metrics {name: ()}; params["net"] are those of the network, state.step the steps taken."""
        raise UsageError(f"{type(self).__name__} needs a method __call__(self, model, params, state, examples)")

    def loss_of_copies(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """As `__call__`, with gradients for the groups of `copies` alone."""
        raise NotImplementedError


def checked(objective: Objective, found: Any, memory: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
    """What an objective with this `memory` returned, as (loss, (metrics, the next memory)); raises UsageError unless
    that is a loss and a dict of metrics, all of them numbers, and a memory of the same form if there is one."""
    whole = isinstance(found, tuple) and len(found) == 2 + bool(memory) and isinstance(found[1], dict)
    if not whole or any(jnp.shape(value) for value in (found[0], *found[1].values())):
        raise UsageError(
            f"an objective returns the loss and a dict of metrics, all numbers{', and its memory' * bool(memory)}: "
            f"{type(objective).__name__} "
            f"returned {jax.tree.map(jnp.shape, found)} (the shapes)"
        )
    new = found[2] if memory else memory
    if jax.tree.map(jnp.shape, new) != jax.tree.map(jnp.shape, memory):
        raise UsageError(f"the memory that {type(objective).__name__} returned has another form than it began with")
    return found[0], (found[1], new)
