"""Inductive moment matching: jumps to s from two times give samples of one distribution (Zhou et al. 2025,
arXiv:2503.07565)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import JUMP, Model
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import noisy
from fewstep.train.objectives.flow_map import Jump, Jumps
from fewstep.train.objectives.times import uniform
from fewstep.train.state import State

NEAR = 1e-4  # a distance below it counts as this, because the norm has no derivative at 0
LOG_SNR = 5.0  # above it times lose their weight


@dataclass(frozen=True)
class IMM(Jumps):
    """The maximum mean discrepancy (MMD) of two groups of `particles` jumps to one s, from t and from r < t, of which
    the second has a stopped gradient.

    sigma / alpha at r is that at t less `gap`, and r >= s.  The kernel is exp(-|a - b| / (d (t - s))) with d the
    dimension, among particles of one class.  The groups are those examples that are B / `particles` apart; examples are
    sorted by class, so that most groups have one.

    As in the paper, a particle is also compared with its own other jump, from the same image and noise.  At the exact
    map these pairs leave a gradient that goes to zero with the gap; all others leave none.
    """

    times: Callable = uniform
    particles: Annotated[int, Range(2, 10_000)] = 4
    gap: Positive = 0.04

    capabilities = frozenset({JUMP})

    @property
    def accepts_x0(self) -> bool:
        """Yes: images are compared, in which an error of x0 counts (t - s) / t times."""
        return True

    def draw(self, model: Model, batch: Batch, key: Array) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        groups = self._groups(n)
        for_t, for_s = jax.random.split(jax.random.fold_in(key, 4))
        t = self.times(model.process, for_t, groups)
        s = t * jax.random.uniform(for_s, (groups,))
        t, s = (jnp.tile(times, self.particles) for times in (t, s))
        x0, eps, label = drawn.x0, drawn.eps, drawn.label
        if label is not None:
            order = jnp.argsort(label).reshape(groups, self.particles).T.ravel()
            x0, eps, label = x0[order], eps[order], label[order]
        return Jump(x0, eps, t, s, label, drawn.key)

    def _groups(self, n):
        if n % self.particles:
            raise UsageError(
                f"the {n} images of a batch, or of a part of it, are not divisible into groups of {self.particles}: "
                f"choose another train.batch_size, train.accumulate or imm.particles"
            )
        return n // self.particles

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"mmd": its mean without the weight of times}."""
        mean, process, t, s = self.mean(model, params, examples), model.process, examples.t, examples.s
        groups = self._groups(len(t))

        def jump(start):
            x = noisy(model, examples._replace(t=start))
            return (x - over(start - s, x) * mean(x, start, s)).reshape(self.particles, groups, -1)

        near = jnp.maximum(s, process.time(-jnp.log(jnp.maximum(jnp.exp(-process.lam(t)) - self.gap, 1e-9))))
        one, other = jump(t), jax.lax.stop_gradient(jump(jnp.minimum(near, t)))
        scale = one.shape[-1] * jnp.maximum(t - s, NEAR)[:groups]
        label = jnp.zeros_like(s) if examples.label is None else examples.label
        alike = self.compared(label.reshape(self.particles, groups))

        def kernel(a, b):
            squares = ((a[:, None] - b[None]) ** 2).sum(-1)
            return alike * jnp.exp(-jnp.sqrt(jnp.maximum(squares, NEAR**2)) / scale)

        mmd = (kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)).mean((0, 1))
        return jnp.mean(weight(process, t[:groups]) * mmd), {"mmd": mmd.mean()}

    def compared(self, label: Array) -> Array:
        """(M, M, groups): whether two particles of a group, with labels (M, groups), are compared."""
        return label[:, None] == label[None]


def weight(process: Process, t: Array) -> Array:
    """sigmoid(b - log SNR) (-d log SNR / dt) alpha / (2 (alpha^2 + sigma^2)), the weight of a time."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return jax.nn.sigmoid(LOG_SNR - 2 * process.lam(t)) * -process.dlam(t) * alpha / (alpha**2 + sigma**2)
