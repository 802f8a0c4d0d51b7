"""Learning to jump from t to any s: shortcut models (Frans et al. 2024, arXiv:2410.12557), MeanFlow (Geng et al. 2025,
arXiv:2505.13447).

Both learn the mean velocity U(x; t, s) = (x - Phi_{t -> s}(x)) / (t - s) of the linear path, which at s = t is the
velocity itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import INSTANT, JUMP, Cond
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.prediction import VELOCITY
from fewstep.diffusion.process import Linear
from fewstep.train.objectives.denoising import Noised, noisy, target
from fewstep.train.objectives.times import logit_normal, uniform


class Jump(NamedTuple):
    """What the network is shown of an image, and asked; every field has a leading batch axis."""

    x0: Array  # (B, *shape)
    eps: Array  # (B, *shape)
    t: Array  # (B,)
    s: Array  # (B,) where it is to jump to; t for the velocity
    label: Array | None  # (B,), dropped labels being the null class
    key: Array  # (B,) keys for dropout


@dataclass(frozen=True)
class _Jumps(Noised):
    capabilities = frozenset({INSTANT, JUMP})

    def _mean(self, model, params, examples):
        """The network's U(x, t, s), for the labels of examples unless told another."""
        if model.process != Linear() or model.prediction != VELOCITY:
            raise UsageError(
                "jumps are learned as mean velocities of the linear path: set train.process = @Linear() and "
                "train.prediction = %VELOCITY"
            )

        def mean(x, t, s, label=examples.label):
            return model.outputs(params["net"], x, t, t - s, Cond(label), examples.key)[0]

        return mean


def _null(model, examples):
    """The label of no class for every example."""
    if examples.label is None:
        raise UsageError("guidance is learned with labels: the data have none, or train.conditional is False")
    return jnp.full_like(examples.label, model.classes)


@dataclass(frozen=True)
class MeanFlow(_Jumps):
    """U against v - (t - s) dU/dt, with dU/dt = v d_x U + d_t U by one forward-mode product, and not differentiated.

    t and s are the larger and the smaller of two draws of `times`; a share `same` has s = t.  An image's squared error
    is divided by itself plus `floor`, to the power `power`, where it is not differentiated either.

    With `guidance` w and `mix` k, v is w v + (1 - w - k) u(null) + k u(label), u being the network's own velocities:
    what is learned is guided by a scale of w / (1 - k), without calls of its own when sampled.  Images without a label
    keep v.
    """

    times: Callable = logit_normal
    same: float = 0.75
    power: float = 1.0
    floor: float = 0.01
    guidance: float = 1.0
    mix: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.same <= 1 or not self.floor > 0 or self.power < 0:
            raise UsageError(
                f"meanflow needs same in [0, 1], power >= 0 and floor > 0: got {self.same}, {self.power}, {self.floor}"
            )
        if not self.guidance > 0 or not 0 <= self.mix < 1:
            raise UsageError(f"meanflow needs guidance > 0 and mix in [0, 1): got {self.guidance} and {self.mix}")

    def draw(self, model, batch, key) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        for_other, for_order, for_same = jax.random.split(jax.random.fold_in(key, 4), 3)
        # In another order: stratified times go up along the batch.
        other = jax.random.permutation(for_order, self.times(model.process, for_other, n))
        t, s = jnp.maximum(drawn.t, other), jnp.minimum(drawn.t, other)
        at_once = (jax.random.uniform(for_same) + jnp.arange(n) * self.same) % 1.0 < self.same
        return Jump(drawn.x0, drawn.eps, t, jnp.where(at_once, t, s), drawn.label, drawn.key)

    def __call__(self, model, params, state, examples):
        """-> loss (), {"flow", "jump": mean squared errors of s = t and of the others, "slope": that of dU/dt}."""
        mean, x, t, s = self._mean(model, params, examples), noisy(model, examples), examples.t, examples.s
        v = self._guided(model, mean, x, examples)
        u, slope = jax.jvp(lambda x, t: mean(x, t, s), (x, t), (v, jnp.ones_like(t)))
        wanted = jax.lax.stop_gradient(v - over(t - s, x) * slope)
        squares = ((u - wanted) ** 2).reshape(len(t), -1)
        total = squares.sum(1)
        loss = jnp.mean(total / jax.lax.stop_gradient(total + self.floor) ** self.power)
        parts = {"flow": s == t, "jump": s < t}
        told = {name: jnp.mean(squares.mean(1) * part) / _share(self.same, name) for name, part in parts.items()}
        return loss, told | {"slope": jnp.mean(slope**2)}

    def _guided(self, model, mean, x, examples):
        """dx/dt, under guidance."""
        v, t = target(model, examples), examples.t
        if (self.guidance, self.mix) == (1, 0):
            return v
        null, guided = _null(model, examples), self.guidance * v
        for share, label in ((1 - self.guidance - self.mix, null), (self.mix, examples.label)):
            guided += share * mean(x, t, t, label) if share else 0.0
        return jax.lax.stop_gradient(jnp.where(over(examples.label == null, v), v, guided))


def _share(same, name):
    return max(same if name == "flow" else 1 - same, 1e-6)


@dataclass(frozen=True)
class Shortcut(_Jumps):
    """One part in `bootstrap` of a batch learns that two jumps of half the size are one, the rest the velocity.

    Sizes are 1, 1/2, ... 1 / 2^(sizes - 1), and t a multiple of the size; the two jumps are those of the longest
    average of the parameters, at half the smallest size the velocity.  clip: bounds of where the first one leads, and
    of their mean, as in the published code for latents; None: none.  guidance: the scale of those velocities, from
    which all jumps have it; the velocity itself is learned without.
    """

    times: Callable = uniform
    bootstrap: int = 4
    sizes: int = 7
    clip: float | None = None
    guidance: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.bootstrap < 2 or self.sizes < 1:
            raise UsageError(f"shortcut needs bootstrap >= 2 and sizes >= 1: got {self.bootstrap} and {self.sizes}")
        if not self.guidance > 0 or (self.clip is not None and not self.clip > 0):
            raise UsageError(f"shortcut needs guidance > 0, and clip > 0 or None: got {self.guidance} and {self.clip}")

    def draw(self, model, batch, key) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        if n < self.bootstrap:
            raise UsageError(f"one image in {self.bootstrap} learns to jump, and a batch has {n}: take a larger batch")
        for_size, for_place, for_order = jax.random.split(jax.random.fold_in(key, 4), 3)
        jumps = jnp.arange(n) < n // self.bootstrap
        order = (jax.random.randint(for_size, (), 0, self.sizes) + jnp.arange(n)) % self.sizes  # evenly
        d = 2.0**-order
        t = 1.0 - d * jnp.floor(jax.random.uniform(for_place, (n,)) / d)
        times = jax.random.permutation(for_order, drawn.t)  # stratified ones go up along the batch
        t, s = jnp.where(jumps, t, times), jnp.where(jumps, t - d, times)
        return Jump(drawn.x0, drawn.eps, t, s, drawn.label, drawn.key)

    def __call__(self, model, params, state, examples):
        """-> loss (), {"flow", "jump": mean squared errors of the two parts, "jump_K": of jumps of size 1 / K}, each
        over its share of many batches."""
        mean, v = self._mean(model, params, examples), target(model, examples)
        x, t, s = noisy(model, examples), examples.t, examples.s
        few = -(-len(t) // self.bootstrap)  # all jumps are among these, in every part of a batch
        first = jax.tree.map(lambda a: a[:few], examples)
        both = self._both(model, state.ema[max(state.ema, key=float)], first, x[:few])
        wanted = jnp.concatenate([jnp.where(over(first.s < first.t, both), both, v[:few]), v[few:]])
        squares = ((mean(x, t, s) - wanted) ** 2).reshape(len(t), -1).mean(1)
        jumps = 1 / self.bootstrap
        told = {"flow": (1 - jumps, s == t), "jump": (jumps, s < t)}
        told |= {f"jump_{2**k}": (jumps / self.sizes, abs(t - s - 2.0**-k) < 1e-6) for k in range(self.sizes)}
        return squares.mean(), {name: jnp.mean(squares * part) / share for name, (share, part) in told.items()}

    def _both(self, model, teacher, examples, x):
        """The mean of the velocities of two jumps of half the size."""
        learned = self._mean(model, teacher, examples)
        t, half = examples.t, (examples.t - examples.s) / 2
        step = jnp.where(half < 1.5 * 2.0**-self.sizes, 0.0, half)
        bound = jnp.inf if self.clip is None else self.clip

        def along(x, t):
            u = learned(x, t, t - step)
            if self.guidance == 1:
                return u
            null = learned(x, t, t - step, _null(model, examples))
            return jnp.where(over(step, u) > 0, u, null + self.guidance * (u - null))

        first = along(x, t)
        between = jnp.clip(x - over(half, x) * first, -bound, bound)
        second = along(between, t - half)
        return jax.lax.stop_gradient(jnp.clip((first + second) / 2, -bound, bound))
