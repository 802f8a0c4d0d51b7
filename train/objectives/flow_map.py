"""What objectives that learn jumps share: the mean velocity of a network, the times of jumps, and the loss.

The mean velocity of the linear path, U(x; t, s) = (x - Phi_{t -> s}(x)) / (t - s) with Phi the flow map, is the
instantaneous velocity at s = t.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import INSTANT, JUMP, Cond, Model
from fewstep.diffusion.prediction import VELOCITY, X0
from fewstep.diffusion.process import Linear
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range, Share
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import Noised, noisy
from fewstep.train.objectives.objective import ADDED
from fewstep.train.objectives.times import logit_normal
from fewstep.train.state import State

Power = Annotated[float, Range(0, 10)]
Guidance = Annotated[float, Range(above=0, most=100)]
Mean = Callable[..., Array]  # (x, t, s[, label]) -> U


class Jump(NamedTuple):
    """Examples with a target time s; every field has a leading batch axis."""

    x0: Array  # (B, *shape)
    eps: Array  # (B, *shape)
    t: Array  # (B,)
    s: Array  # (B,) the target time; equal to t for the instantaneous velocity
    label: Array | None  # (B,), dropped labels replaced by the null class
    key: Array  # (B,) keys for dropout
    r: Array | None = None  # (B,) a time between them, for objectives with two jumps
    guidance: Array | None = None  # (B, 3), as in Cond, for networks with guidance as an input


@dataclass(frozen=True)
class Jumps(Noised):
    """The base of objectives that learn mean velocities."""

    capabilities = frozenset({INSTANT, JUMP})

    @property
    def accepts_x0(self) -> bool:
        """Whether the network may predict x0, whose errors are errors of the mean velocity 1/t times as large."""
        return False

    def mean(self, model: Model, params: dict, examples: Any) -> Mean:
        """The network's U(x, t, s[, label]), by default with the labels of the examples."""
        outputs = self.outputs(model, params, examples)
        return lambda *asked: outputs(*asked)[0]

    def outputs(self, model: Model, params: dict, examples: Any) -> Callable[..., tuple[Array, Any]]:
        """The network's U(x, t, s[, label, guidance]), and what its second output adds to it, or None."""
        if model.process != Linear():
            raise UsageError("this objective learns mean velocities of the linear path: set train.process = @Linear()")
        if model.prediction == X0 and not self.accepts_x0:
            raise UsageError(
                "the velocity of an x0-prediction has errors of any size near t = 0, which this objective does not "
                "bound: set train.prediction = %VELOCITY, or take @meanflow() with power = 1, or @imm()"
            )

        def velocity(x, t, raw):
            if model.prediction == VELOCITY:
                return raw
            x0, eps = model.prediction.decode(model.process, over(t, x), x, raw)
            return eps - x0

        def outputs(x, t, s, label=examples.label, guidance=examples.guidance):
            cond = Cond(label, guidance=guidance)
            raw, second = model.outputs(params["net"], x, t, t - s, cond, examples.key)
            u = velocity(x, t, raw)
            if second is None or model.prediction == VELOCITY:
                return u, second
            return u, velocity(x, t, raw + second) - u  # decoding is affine

        return outputs


@dataclass(frozen=True)
class FlowMap(Jumps):
    """The base of objectives that learn jumps between any two times together with the velocity.

    A fraction `same` of a batch, its last examples, has s = t and learns the velocity v = eps - x0.  For the others t
    and s are the larger and the smaller of a draw of `times` and one of `ends` (None: of `times` too).  The squared
    error of an image is divided by (itself + `floor`)^`power`, with a stopped gradient.
    """

    times: Callable = logit_normal
    same: Share = 0.75
    power: Power = 1.0
    floor: Positive = 0.01
    ends: Callable | None = field(default=None, kw_only=True, metadata=ADDED)

    # Whether the goals of jumps contain the velocity of one image.  Other errors can become as small as one likes:
    # weights by their size would let a network be consistent with itself alone, and no longer with the images.
    random_goals: ClassVar[bool] = True

    @property
    def accepts_x0(self) -> bool:
        """As of `Jumps`: whether large errors may be divided by themselves, and are."""
        return self.random_goals and self.power >= 1

    def draw(self, model: Model, batch: Batch, key: Array) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        for_end, for_order, for_end_order = jax.random.split(jax.random.fold_in(key, 4), 3)
        # Permuted, because stratified times increase along the batch.
        start = jax.random.permutation(for_order, drawn.t)
        end = jax.random.permutation(for_end_order, (self.ends or self.times)(model.process, for_end, n))
        count = math.floor((1 - self.same) * n + 1e-6)
        if not count and self.same < 1:
            raise UsageError(
                f"with same = {self.same:g} a batch of {n} has no jump: take a larger batch or less `same`"
            )
        jumps = jnp.arange(n) < count
        t, s = jnp.maximum(start, end), jnp.minimum(start, end)
        return Jump(drawn.x0, drawn.eps, jnp.where(jumps, t, start), jnp.where(jumps, s, start), drawn.label, drawn.key)

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"flow", "jump": mean squared errors for s = t and for s < t} and what `jump` adds."""
        some, rest = self.divided(examples)
        means, goals, metrics = [], [], {}
        if len(some.t):
            v = self.velocity(model, params, some)
            u, goal, metrics = self.jump(model, params, state, some, v)
            means, goals = [u], [jnp.where(over(some.s < some.t, u), goal, v)]
        if len(rest.t):
            means.append(self.mean(model, params, rest)(noisy(model, rest), rest.t, rest.t))
            goals.append(self.velocity(model, params, rest))
        squares = (jnp.concatenate(means) - jax.lax.stop_gradient(jnp.concatenate(goals))) ** 2
        squares = squares.reshape(len(squares), -1)
        return self.weighed(squares), self.parts(examples, squares) | metrics

    def divided(self, examples: Any) -> tuple[Any, Any]:
        """The first examples, with all jumps of this part of a batch, and the others."""
        few = math.ceil((1 - self.same) * len(examples.t) - 1e-6)
        return jax.tree.map(lambda a: a[:few], examples), jax.tree.map(lambda a: a[few:], examples)

    def jump(
        self, model: Model, params: dict, state: State, some: Any, v: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(U, what it is to be, metrics) for examples of s < t with the velocity v; what it is to be is held fixed."""
        raise NotImplementedError

    def velocity(self, model: Model, params: dict, examples: Any) -> Array:
        """dx/dt of the path of each example, (B, *shape)."""
        return examples.eps - examples.x0

    def weighed(self, squares: Array) -> Array:
        """The loss () of squared errors (B, d)."""
        total = squares.sum(1)
        return jnp.mean(total / jax.lax.stop_gradient(total + self.floor) ** self.power)

    def parts(self, examples: Any, squares: Array) -> dict[str, Array]:
        """The mean squared errors (B, d) of velocities and of jumps, normalized by their expected numbers."""
        shares = {"flow": (self.same, examples.s == examples.t), "jump": (1 - self.same, examples.s < examples.t)}
        return {name: jnp.mean(squares.mean(1) * part) / max(share, 1e-6) for name, (share, part) in shares.items()}


def null_label(model: Model, examples: Any) -> Array:
    """The null class for every example; raises UsageError if there is none."""
    if examples.label is None:
        raise UsageError("guidance requires labels, but the data has none or train.conditional is False")
    if not model.null_class:
        raise UsageError("guidance requires a null class, and this network was trained on labels alone")
    return jnp.full_like(examples.label, model.classes)


def two_jumps(mean: Mean, first: Array, x: Array, t: Array, r: Array, s: Array) -> Array:
    """The mean velocity from t to s of a step from t to r with velocity `first` and a jump from r to s; t = s: `first`.

    Times (B,) with s <= r <= t.
    """
    share = over((t - r) / jnp.where(t > s, t - s, 1.0), x)
    share = jnp.where(over(t > s, x), share, 1.0)
    return share * first + (1 - share) * mean(x - over(t - r, x) * first, r, s)
