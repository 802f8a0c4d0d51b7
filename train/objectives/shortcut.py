"""Shortcut models: a jump is two jumps of half the size (Frans et al. 2024, arXiv:2410.12557)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Model
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import Guidance, Jump, Jumps, null_label
from fewstep.train.objectives.times import uniform
from fewstep.train.state import State


@dataclass(frozen=True)
class Shortcut(Jumps):
    """One in `bootstrap` examples of a batch learns that a jump equals two jumps of half the size; the others learn the
    velocity.

    Jump sizes are 1, 1/2, ... 1 / 2^(sizes - 1), and t is a multiple of the size.  The targets come from the EMA with
    the largest decay; for the smallest size they are two velocity steps.  clip: bound of the intermediate state and of
    the mean target, as in the published code for latents; None: no bound.  guidance: the scale of classifier-free
    guidance of those velocity steps, from which all jumps inherit it; the velocity itself is learned without guidance.
    """

    times: Callable = uniform
    bootstrap: Annotated[int, Range(2, 10_000)] = 4
    sizes: Annotated[int, Range(1, 20)] = 7
    clip: Positive | None = None
    guidance: Guidance = 1.0

    def draw(self, model: Model, batch: Batch, key: Array) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        if n < self.bootstrap:
            raise UsageError(f"one image in {self.bootstrap} learns to jump, and a batch has {n}: take a larger batch")
        for_size, for_place, for_order = jax.random.split(jax.random.fold_in(key, 4), 3)
        jumps = jnp.arange(n) < n // self.bootstrap
        order = (jax.random.randint(for_size, (), 0, self.sizes) + jnp.arange(n)) % self.sizes  # evenly
        d = 2.0**-order
        t = 1.0 - d * jnp.floor(jax.random.uniform(for_place, (n,)) / d)
        times = jax.random.permutation(for_order, drawn.t)  # stratified times increase along the batch
        t, s = jnp.where(jumps, t, times), jnp.where(jumps, t - d, times)
        return Jump(drawn.x0, drawn.eps, t, s, drawn.label, drawn.key)

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"flow", "jump": mean squared errors of the two kinds of examples, "jump_K": of jumps of size
        1 / K}, each normalized by its expected number of examples."""
        mean, v = self.mean(model, params, examples), examples.eps - examples.x0
        x, t, s = noisy(model, examples), examples.t, examples.s
        few = -(-len(t) // self.bootstrap)  # the jumps are among the first `few`, in every part of a batch
        first = jax.tree.map(lambda a: a[:few], examples)
        both = self._two_jumps(model, state.smoothest, first, x[:few])
        goal = jnp.concatenate([jnp.where(over(first.s < first.t, both), both, v[:few]), v[few:]])
        squares = ((mean(x, t, s) - goal) ** 2).reshape(len(t), -1).mean(1)
        jumps = 1 / self.bootstrap
        parts = {"flow": (1 - jumps, s == t), "jump": (jumps, s < t)}
        parts |= {f"jump_{2**k}": (jumps / self.sizes, abs(t - s - 2.0**-k) < 1e-6) for k in range(self.sizes)}
        return squares.mean(), {name: jnp.mean(squares * part) / share for name, (share, part) in parts.items()}

    def _two_jumps(self, model, teacher, examples, x):
        """The mean velocity of two jumps of half the size, with a stopped gradient."""
        learned = self.mean(model, teacher, examples)
        t, half = examples.t, (examples.t - examples.s) / 2
        step = jnp.where(half < 1.5 * 2.0**-self.sizes, 0.0, half)
        bound = jnp.inf if self.clip is None else self.clip

        def along(x, t):
            u = learned(x, t, t - step)
            if self.guidance == 1:
                return u
            null = learned(x, t, t - step, null_label(model, examples))
            return jnp.where(over(step, u) > 0, u, null + self.guidance * (u - null))

        first = along(x, t)
        between = jnp.clip(x - over(half, x) * first, -bound, bound)
        second = along(between, t - half)
        return jax.lax.stop_gradient(jnp.clip((first + second) / 2, -bound, bound))
