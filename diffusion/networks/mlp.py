"""Residual multilayer perceptron for points (B, d)."""

from collections.abc import Sequence
from typing import Annotated, Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from fewstep.diffusion.arrays import Number
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks.embeddings import FASTEST, Classes, Conditioning, Fastest, Precision
from fewstep.diffusion.networks.featured import Featured
from fewstep.diffusion.networks.hooks import SKIPS, check_unused
from fewstep.diffusion.networks.layers import EMBED, HIDDEN, ZEROS, Linear, Modulation
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked


class Block(nnx.Module):
    """x plus two dense layers of x, the second zero at initialization; the embedding scales and shifts between them."""

    def __init__(self, width: int, dtype: Any, *, rngs: nnx.Rngs):
        self.first = Linear(width, width, dtype=dtype, rngs=rngs)
        self.modulation = Modulation(width, width, 2, rngs=rngs)
        self.last = Linear(width, width, (HIDDEN, EMBED), kernel_init=ZEROS, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, embedding: Array) -> Array:
        scale, shift = (v.astype(x.dtype) for v in self.modulation(embedding))
        return x + self.last(nnx.silu(self.first(x) * (1 + scale) + shift))


class _Variance(nnx.Module):
    """A second output from the last features, zero at initialization."""

    def __init__(self, width: int, features: int, dtype: Any, *, rngs: nnx.Rngs):
        self.block = Block(width, dtype, rngs=rngs)
        self.head = Linear(width, features, (EMBED, None), kernel_init=ZEROS, rngs=rngs)

    def __call__(self, h: Array, embedding: Array) -> Array:
        return self.head(self.block(h, embedding).astype(jnp.float32))


@checked
class MLP(Featured):
    """Predicts an array of the shape of points, in float32; with `variance` a second one in additional features, from a
    block of its own.  There is no normalisation, which would remove the norm of the points.

    shape = (d,).  dtype is that of the computation; parameters are float32.
    fastest: the highest frequency of the time embedding, in radians per unit (embeddings.py).
    """

    levels, attends = 0, False

    def __init__(
        self,
        shape: Sequence[int],
        classes: Classes = 0,
        width: Annotated[int, Range(1, 65_536)] = 128,
        depth: Annotated[int, Range(1, 256)] = 4,
        fastest: Fastest = FASTEST,
        jumps: bool = False,
        guided: bool = False,
        variance: bool = False,
        dtype: Precision = "float32",
        *,
        rngs: nnx.Rngs,
    ):
        if len(shape) != 1:
            raise UsageError(f"an MLP is for points of shape (d,), not {tuple(shape)}: use UNet for images")
        (features,) = shape
        compute = jnp.dtype(dtype)
        self.conditioning = Conditioning(classes, width, jumps, fastest, guided, rngs=rngs)
        self.stem = Linear(features, width, (None, EMBED), dtype=compute, rngs=rngs)
        self.blocks = nnx.List([Block(width, compute, rngs=rngs) for _ in range(depth)])
        self.head = Linear(width, features, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.variance = _Variance(width, features, compute, rngs=rngs) if variance else None

    def with_features(
        self, x: Array, t: Number, d: Number | None, cond: Cond, key: Array | None = None
    ) -> tuple[Array, Array]:
        """x (B, d), t and d (or d None) numbers or (B,) -> (B, d) in float32, with variance (B, 2d).

        Uses cond.label (B,) and cond.guidance (B, 3).  There is no dropout: key is ignored.  Raises UsageError for
        labels or jumps the network was not built for, and for multipliers of skips or attention.  The features are the
        activations after the middle block.
        """
        check_unused(cond, "an MLP has no skips and no attention", *SKIPS, "attention")
        embedding = self.conditioning(len(x), t, d, cond.label, cond.guidance)
        h = self.stem(x)
        features = h
        for i, block in enumerate(self.blocks):
            h = block(h, embedding)
            features = h if i == len(self.blocks) // 2 else features
        out, features = self.head(h.astype(jnp.float32)), features.astype(jnp.float32)
        if self.variance is None:
            return out, features
        return jnp.concatenate([out, self.variance(h, embedding)], axis=-1), features
