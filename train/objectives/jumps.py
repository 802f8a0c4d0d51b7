"""Flow maps from t to any s: shortcut models (Frans et al. 2024, arXiv:2410.12557), MeanFlow (Geng et al. 2025,
arXiv:2505.13447).

Both learn the mean velocity U(x; t, s) = (x - Phi_{t -> s}(x)) / (t - s) of the linear path, which at s = t is the
instantaneous velocity.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import INSTANT, JUMP, Cond, Model
from fewstep.diffusion.foreign import Transferred
from fewstep.diffusion.prediction import VELOCITY
from fewstep.diffusion.process import Linear
from fewstep.errors import UsageError
from fewstep.ranges import Fraction, Positive, Range, Share
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import Noised, noisy, target
from fewstep.train.objectives.times import logit_normal, uniform
from fewstep.train.state import State

Guidance = Annotated[float, Range(above=0, most=100)]


class Jump(NamedTuple):
    """Examples with a target time s; every field has a leading batch axis."""

    x0: Array  # (B, *shape)
    eps: Array  # (B, *shape)
    t: Array  # (B,)
    s: Array  # (B,) the target time; equal to t for the instantaneous velocity
    label: Array | None  # (B,), dropped labels replaced by the null class
    key: Array  # (B,) keys for dropout


@dataclass(frozen=True)
class _Jumps(Noised):
    capabilities = frozenset({INSTANT, JUMP})

    def _mean(self, model, params, examples):
        """The network's U(x, t, s[, label]), by default with the labels of the examples."""
        if model.process != Linear() or not isinstance(model.prediction, Transferred | type(VELOCITY)):
            raise UsageError(
                "this objective learns mean velocities of the linear path: set train.process = @Linear() and "
                "train.prediction = %VELOCITY, or @Transferred() for a network that was trained otherwise"
            )

        def mean(x, t, s, label=examples.label):
            raw = model.outputs(params["net"], x, t, t - s, Cond(label), examples.key)[0]
            if model.prediction == VELOCITY:
                return raw
            x0, eps = model.prediction.decode(model.process, over(t, x), x, raw)
            return eps - x0

        return mean


def _null(model, examples):
    """The null class for every example."""
    if examples.label is None:
        raise UsageError("guidance requires labels, but the data has none or train.conditional is False")
    if not model.null_class:
        raise UsageError("guidance requires a null class, and this network was trained on labels alone")
    return jnp.full_like(examples.label, model.classes)


@dataclass(frozen=True)
class MeanFlow(_Jumps):
    """U against v - (t - s) dU/dt, with a stopped gradient; dU/dt = v d_x U + d_t U is one forward-mode product.

    t and s are the larger and the smaller of two draws of `times`; a fraction `same` of the examples has s = t.  The
    squared error of an image is divided by (itself + `floor`)^`power`, with a stopped gradient.

    With `guidance` w and `mix` k, v is replaced by w v + (1 - w - k) u(null) + k u(label), where u is the network's own
    velocity: the network learns a guided flow of scale w / (1 - k), which needs no extra calls at sampling.  Examples
    with a dropped label keep v.
    """

    times: Callable = logit_normal
    same: Share = 0.75
    power: Annotated[float, Range(0, 10)] = 1.0
    floor: Positive = 0.01
    guidance: Guidance = 1.0
    mix: Fraction = 0.0

    def draw(self, model: Model, batch: Batch, key: Array) -> Jump:
        """batch.image (B, *shape), batch.label (B,) or None."""
        drawn, n = super().draw(model, batch, key), len(batch.image)
        for_other, for_order, for_same = jax.random.split(jax.random.fold_in(key, 4), 3)
        # Permuted, because stratified times increase along the batch.
        other = jax.random.permutation(for_order, self.times(model.process, for_other, n))
        t, s = jnp.maximum(drawn.t, other), jnp.minimum(drawn.t, other)
        at_once = (jax.random.uniform(for_same) + jnp.arange(n) * self.same) % 1.0 < self.same
        return Jump(drawn.x0, drawn.eps, t, jnp.where(at_once, t, s), drawn.label, drawn.key)

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss (), {"flow", "jump": mean squared errors for s = t and for s < t, "slope": mean square of dU/dt}."""
        mean, x, t, s = self._mean(model, params, examples), noisy(model, examples), examples.t, examples.s
        v = self._guided(model, mean, x, examples)
        u, slope = jax.jvp(lambda x, t: mean(x, t, s), (x, t), (v, jnp.ones_like(t)))
        goal = jax.lax.stop_gradient(v - over(t - s, x) * slope)
        squares = ((u - goal) ** 2).reshape(len(t), -1)
        total = squares.sum(1)
        loss = jnp.mean(total / jax.lax.stop_gradient(total + self.floor) ** self.power)
        parts = {"flow": s == t, "jump": s < t}
        metrics = {name: jnp.mean(squares.mean(1) * part) / _share(self.same, name) for name, part in parts.items()}
        return loss, metrics | {"slope": jnp.mean(slope**2)}

    def _guided(self, model, mean, x, examples):
        """dx/dt with guidance."""
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
        mean, v = self._mean(model, params, examples), target(model, examples)
        x, t, s = noisy(model, examples), examples.t, examples.s
        few = -(-len(t) // self.bootstrap)  # the jumps are among the first `few`, in every part of a batch
        first = jax.tree.map(lambda a: a[:few], examples)
        both = self._two_jumps(model, state.ema[max(state.ema, key=float)], first, x[:few])
        goal = jnp.concatenate([jnp.where(over(first.s < first.t, both), both, v[:few]), v[few:]])
        squares = ((mean(x, t, s) - goal) ** 2).reshape(len(t), -1).mean(1)
        jumps = 1 / self.bootstrap
        parts = {"flow": (1 - jumps, s == t), "jump": (jumps, s < t)}
        parts |= {f"jump_{2**k}": (jumps / self.sizes, abs(t - s - 2.0**-k) < 1e-6) for k in range(self.sizes)}
        return squares.mean(), {name: jnp.mean(squares * part) / share for name, (share, part) in parts.items()}

    def _two_jumps(self, model, teacher, examples, x):
        """The mean velocity of two jumps of half the size, with a stopped gradient."""
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
