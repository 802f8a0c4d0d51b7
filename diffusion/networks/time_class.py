"""The conditioning of published networks on time and class: waves of the time, two dense layers, the class before or
after them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.networks.embeddings import FEATURES, SLOW, Guided, check_conditioning, sinusoids
from fewstep.diffusion.networks.initializers import fan_in, unit
from fewstep.diffusion.networks.layers import EMBED, ZEROS, Linear
from fewstep.errors import UsageError

Order = Literal["sin_cos", "cos_sin", "fourier"]
Join = Literal["before", "after"]
PERIOD = 10_000  # the longest wave, over 2 pi


@dataclass(frozen=True)
class Waves:
    """Sines and cosines of a time at `count` / 2 frequencies.

    order: "sin_cos" (DDPM), "cos_sin" (ADM, DiT), or "fourier": sines first, at frequencies that are parameters
    (NCSN++).  shift: the frequencies are PERIOD^(-i / (count / 2 - shift)); 1 in DDPM and EDM's SongUNet, else 0.
    """

    count: int
    order: Order = "sin_cos"
    shift: int = 0

    @property
    def frequencies(self) -> np.ndarray:
        """(count / 2,) float32, in radians per unit of time, rounded where the published networks round them."""
        half = self.count // 2
        exponents = np.float32(-np.log(PERIOD)) * np.arange(half, dtype=np.float32) / np.float32(half - self.shift)
        return np.exp(exponents)

    def __post_init__(self) -> None:
        if self.count % 2:
            raise UsageError(f"waves are pairs of a sine and a cosine, an even number of them: got {self.count}")
        if self.count // 2 <= self.shift:
            raise UsageError(f"waves with shift {self.shift} are more than {2 * self.shift}: got {self.count}")

    def __call__(self, t: AnyArray, frequencies: AnyArray) -> Array:
        """t (B,) and frequencies (count / 2,) -> (B, count)."""
        angles = jnp.asarray(t, jnp.float32)[:, None] * frequencies
        waves = [jnp.cos(angles), jnp.sin(angles)]
        return jnp.concatenate(waves if self.order == "cos_sin" else waves[::-1], axis=-1)


class _Layers(nnx.Module):
    """dense -> silu -> dense, zero at initialization."""

    def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs):
        self.first = Linear(inputs, width, (None, None), rngs=rngs)
        self.second = Linear(width, width, (EMBED, None), kernel_init=ZEROS, rngs=rngs)

    def __call__(self, h: Array) -> Array:
        return self.second(nnx.silu(self.first(h)))


class TimeClass(nnx.Module):
    """Waves of the time -> dense -> silu -> dense (-> silu): one vector per image, in float32.

    label: where the class joins: "before" the layers (EDM's SongUNet, a one-hot vector times the root of the number of
    classes, through a layer with a bias) or "after" them (ADM, DiT, a table).  null: the table has a last row for the
    null class; without it every image needs a label.  jumps: the size of a jump joins after the layers, zero at
    initialization, so that a published network computes the same function; jump_layers: through waves and two layers of
    its own, like the time (MeanFlow), instead of one.
    """

    def __init__(
        self,
        waves: Waves,
        width: int,
        classes: int,
        label: Join,
        null: bool,
        jumps: bool,
        jump_layers: bool = False,
        guided: bool = False,
        *,
        rngs: nnx.Rngs,
    ):
        self.waves, self.classes, self.join, self.null_class = waves, classes, label, null
        whole = (None, None)  # small kernels are replicated, as in embeddings.Conditioning
        random = waves.order == "fourier"
        frequencies = 16 * unit(rngs.params(), (waves.count // 2,)) if random else None
        self.frequencies = None if frequencies is None else nnx.Param(frequencies, axes=(None,))
        self.first = Linear(waves.count, width, whole, rngs=rngs)
        self.second = Linear(width, width, (EMBED, None), rngs=rngs)
        jump = partial(Linear, FEATURES, width, whole, use_bias=False, kernel_init=ZEROS, rngs=rngs)
        jump = partial(_Layers, waves.count, width, rngs=rngs) if jump_layers else jump
        self.jump = jump() if jumps else None
        joined, init = (waves.count, fan_in) if label == "before" else (width, unit)
        self.label = nnx.Embed(classes + null, joined, embedding_init=init, rngs=rngs) if classes else None
        self.guidance = Guided(width, rngs=rngs) if guided else None
        self.bias = nnx.Param(jnp.zeros(joined), axes=(None,)) if classes and label == "before" else None

    def __call__(
        self, batch: int, t: Number, d: Number | None, label: AnyArray | None, guidance: AnyArray | None = None
    ) -> Array:
        """t and d numbers or (batch,), label (batch,) int, guidance (batch, 3) -> (batch, width).

        d None is 0, and guidance None is none.  Raises UsageError for conditioning that the network was not built for,
        and without labels if it has no null class.
        """
        check_conditioning(self, d, label, guidance)
        h = self.waves(jnp.broadcast_to(t, (batch,)), self._frequencies())
        joined = None if self.label is None else self._joined(batch, label)
        if self.join == "before" and joined is not None:
            h += joined
        h = self.second(nnx.silu(self.first(h)))
        if self.join == "after" and joined is not None:
            h += joined
        if self.jump is not None:
            d = jnp.broadcast_to(0.0 if d is None else d, (batch,))
            waves = self.waves(d, self._frequencies()) if isinstance(self.jump, _Layers) else sinusoids(d, SLOW)
            h += self.jump(waves)
        if self.guidance is not None:
            h += self.guidance(batch, guidance)
        return nnx.silu(h)

    def _frequencies(self):
        if self.frequencies is None:
            return self.waves.frequencies
        return np.float32(2 * np.pi) * jax.lax.stop_gradient(self.frequencies[...])  # they are not trained

    def _joined(self, batch, label):
        if label is None and not self.null_class:
            raise UsageError("this network was trained without a null class: every image needs a label")
        index: Any = jnp.full((batch,), self.classes) if label is None else label
        rows = self.label(index)  # pyright: ignore[reportOptionalCall]
        return rows if self.bias is None else rows * np.float32(self.classes**0.5) + self.bias[...]
