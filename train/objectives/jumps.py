"""Learning to jump from t to any s: shortcut models (Frans et al. 2024, arXiv:2410.12557), MeanFlow (Geng et al. 2025,
arXiv:2505.13447).

Both learn the mean velocity U(x; t, s) = (x - Phi_{t -> s}(x)) / (t - s) of the linear path, which at s = t is the
velocity itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffusion.arrays import over
from diffusion.denoiser import INSTANT, JUMP, Cond
from diffusion.prediction import VELOCITY
from diffusion.process import Linear
from train.objectives.denoising import Noised, noisy, target
from train.objectives.times import logit_normal, uniform


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
    answers = frozenset({INSTANT, JUMP})

    def _velocity(self, model, params, examples):
        """U(x, t, s), a function of the network, and dx/dt of examples (B, ...)."""
        if model.process != Linear() or model.prediction != VELOCITY:
            raise ValueError(
                "jumps are learned as mean velocities of the linear path: set train.process = @Linear() and "
                "train.prediction = %VELOCITY"
            )

        def mean(params, x, t, s):
            return model.outputs(params["net"], x, t, t - s, Cond(examples.label), examples.key)[0]

        return partial(mean, params), target(model, examples)


@dataclass(frozen=True)
class MeanFlow(_Jumps):
    """U against v - (t - s) dU/dt, with dU/dt = v d_x U + d_t U by one forward-mode product, and not differentiated.

    t and s are the larger and the smaller of two draws of `times`; a share `same` has s = t.  An image's squared error
    is divided by itself plus `floor`, to the power `power`, where it is not differentiated either.
    """

    times: Callable = logit_normal
    same: float = 0.75
    power: float = 1.0
    floor: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.same <= 1 or not self.floor > 0 or self.power < 0:
            raise ValueError(
                f"meanflow needs same in [0, 1], power >= 0 and floor > 0: got {self.same}, {self.power}, {self.floor}"
            )

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
        """-> loss (), {"flow", "jump": mean squared errors of s = t and of the others, "slope": size of dU/dt}."""
        mean, v = self._velocity(model, params, examples)
        x, t, s = noisy(model, examples), examples.t, examples.s
        u, slope = jax.jvp(lambda x, t: mean(x, t, s), (x, t), (v, jnp.ones_like(t)))
        wanted = jax.lax.stop_gradient(v - over(t - s, x) * slope)
        squares = ((u - wanted) ** 2).reshape(len(t), -1)
        total = squares.sum(1)
        loss = jnp.mean(total / jax.lax.stop_gradient(total + self.floor) ** self.power)
        parts = {"flow": s == t, "jump": s < t}
        told = {name: jnp.mean(squares.mean(1) * part) / _share(self.same, name) for name, part in parts.items()}
        return loss, told | {"slope": jnp.sqrt(jnp.mean(slope**2))}


def _share(same, name):
    return max(same if name == "flow" else 1 - same, 1e-6)


@dataclass(frozen=True)
class Shortcut(_Jumps):
    """One part in `bootstrap` of a batch learns that two jumps of half the size are one, the rest the velocity.

    Sizes are 1, 1/2, ... 1 / 2^(sizes - 1), and t a multiple of the size; the two jumps are those of the longest
    average of the parameters, at half the smallest size the velocity.  clip: bounds of where the first one leads, and
    of their mean, as in the published code for latents; None: none.
    """

    times: Callable = uniform
    bootstrap: int = 4
    sizes: int = 7
    clip: float | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.bootstrap < 2 or self.sizes < 1:
            raise ValueError(f"shortcut needs bootstrap >= 2 and sizes >= 1: got {self.bootstrap} and {self.sizes}")

    def draw(self, model, batch, key) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        if n < self.bootstrap:
            raise ValueError(f"one image in {self.bootstrap} learns to jump, and a batch has {n}: take a larger batch")
        for_size, for_place, for_order = jax.random.split(jax.random.fold_in(key, 4), 3)
        jumps = jnp.arange(n) < n // self.bootstrap
        order = (jax.random.randint(for_size, (), 0, self.sizes) + jnp.arange(n)) % self.sizes  # evenly
        d = 2.0**-order
        t = 1.0 - d * jnp.floor(jax.random.uniform(for_place, (n,)) / d)
        times = jax.random.permutation(for_order, drawn.t)  # stratified ones go up along the batch
        t, s = jnp.where(jumps, t, times), jnp.where(jumps, t - d, times)
        return Jump(drawn.x0, drawn.eps, t, s, drawn.label, drawn.key)

    def __call__(self, model, params, state, examples):
        """-> loss (), {"flow", "jump": mean squared errors of the two parts}."""
        mean, v = self._velocity(model, params, examples)
        x, t, s = noisy(model, examples), examples.t, examples.s
        few = -(-len(t) // self.bootstrap)  # all jumps are among these, in every part of a batch
        first = jax.tree.map(lambda a: a[:few], examples)
        both = self._both(model, state.ema[max(state.ema, key=float)], first, x[:few])
        wanted = jnp.concatenate([jnp.where(over(first.s < first.t, both), both, v[:few]), v[few:]])
        squares = ((mean(x, t, s) - wanted) ** 2).reshape(len(t), -1).mean(1)
        told = {"flow": (1 - 1 / self.bootstrap, s == t), "jump": (1 / self.bootstrap, s < t)}
        return squares.mean(), {name: jnp.mean(squares * part) / share for name, (share, part) in told.items()}

    def _both(self, model, teacher, examples, x):
        """The mean of the velocities of two jumps of half the size."""
        learned, _ = self._velocity(model, teacher, examples)
        t, half = examples.t, (examples.t - examples.s) / 2
        step = jnp.where(half < 1.5 * 2.0**-self.sizes, 0.0, half)
        bound = jnp.inf if self.clip is None else self.clip
        first = learned(x, t, t - step)
        between = jnp.clip(x - over(half, x) * first, -bound, bound)
        second = learned(between, t - half, t - half - step)
        return jax.lax.stop_gradient(jnp.clip((first + second) / 2, -bound, bound))
