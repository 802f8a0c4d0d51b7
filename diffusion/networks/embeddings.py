"""The conditioning of a network on time, class and size of a jump, as one vector per image."""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.networks.initializers import unit
from fewstep.diffusion.networks.layers import EMBED, ZEROS, Linear
from fewstep.errors import UsageError
from fewstep.ranges import Range

FEATURES = 64
# Frequencies in radians per unit of time.  The lowest does not repeat within [-5, 5], the range of EDM's c_noise; the
# highest changes by 0.26 radians over 1e-3, the smallest time of VP.  Higher ones would only amplify derivatives in
# time, and objectives that use these derivatives need much lower ones: MeanFlow's error of jumps on digits is 19 with
# 256, and 0.58 with 16.
SLOWEST, FASTEST = 0.25, 256.0
SLOW = 16.0  # the highest frequency of jumps of published networks, and of guidance

# Of every network.  float16 is left out: its largest number is 65504, and nothing here scales the loss.
Precision = Literal["float32", "bfloat16"]
Fastest = Annotated[float, Range(above=SLOWEST, most=100_000)]
Classes = Annotated[int, Range(0, 1_000_000)]


def sinusoids(t: AnyArray, fastest: float = FASTEST) -> Array:
    """t (B,), any real numbers -> (B, FEATURES): cosines and sines at geometric frequencies up to `fastest`
    (arXiv:1706.03762 section 3.5)."""
    frequencies = np.geomspace(SLOWEST, fastest, FEATURES // 2, dtype=np.float32)
    angles = jnp.asarray(t, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class Guided(nnx.Module):
    """The embedding of Cond.guidance, zero at initialization: a network initialized from one without it then computes
    the same function."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.layer = Linear(3 * FEATURES, width, (None, None), use_bias=False, kernel_init=ZEROS, rngs=rngs)

    def __call__(self, batch: int, guidance: AnyArray | None) -> Array:
        """guidance (batch, 3) -> (batch, width); None is scale 1 at all times."""
        values = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 1.0] if guidance is None else guidance), (batch, 3))
        scale, low, high = values.T
        return self.layer(jnp.concatenate([sinusoids(a, SLOW) for a in (1 - 1 / scale, low, high)], axis=-1))


def check_conditioning(network: Any, d: Any, label: Any, guidance: Any) -> None:
    """Raises UsageError for conditioning that a network, with members jump, label and guidance, was not built for."""
    if d is not None and network.jump is None:
        raise UsageError("this network has no jumps: build it with jumps=True, or leave d None")
    if label is not None and network.label is None:
        raise UsageError("this network has no labels: build it with classes > 0, or leave cond.label None")
    if guidance is not None and network.guidance is None:
        raise UsageError("this network has no guidance as an input: build it with guided=True, or leave it None")


class Conditioning(nnx.Module):
    """The sum of embeddings of time, class, size of a jump and guidance, followed by one more layer; in float32."""

    def __init__(self, classes: int, width: int, jumps: bool, fastest: float, guided: bool = False, *, rngs: nnx.Rngs):
        self.classes, self.fastest = classes, fastest
        whole = (None, None)  # small kernels are replicated: XLA communicates them inefficiently when sharded
        self.time = Linear(FEATURES, width, whole, rngs=rngs)
        # Zero at initialization: a network initialized from one without jumps then computes the same function.
        self.jump = Linear(FEATURES, width, whole, use_bias=False, kernel_init=ZEROS, rngs=rngs) if jumps else None
        self.label = nnx.Embed(classes + 1, width, embedding_init=unit, rngs=rngs) if classes else None
        self.mix = Linear(width, width, (EMBED, None), rngs=rngs)
        self.guidance = Guided(width, rngs=rngs) if guided else None

    def __call__(
        self, batch: int, t: Number, d: Number | None, label: AnyArray | None, guidance: AnyArray | None = None
    ) -> Array:
        """t and d numbers or (batch,), label (batch,) int, guidance (batch, 3) -> (batch, width).

        d None is 0, label None is the null class and guidance None is none.  Raises UsageError for conditioning that
        the network was not built for.
        """
        check_conditioning(self, d, label, guidance)
        h = self.time(sinusoids(jnp.broadcast_to(t, (batch,)), self.fastest))
        if self.jump is not None:
            h += self.jump(sinusoids(jnp.broadcast_to(0.0 if d is None else d, (batch,)), self.fastest))
        if self.label is not None:
            index: Any = jnp.full((batch,), self.classes) if label is None else label
            h += self.label(index)
        if self.guidance is not None:
            h += self.guidance(batch, guidance)
        return nnx.silu(self.mix(nnx.silu(h)))
