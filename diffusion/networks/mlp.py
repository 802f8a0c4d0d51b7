"""Residual multilayer perceptron for points (B, d)."""

import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.networks.embeddings import FASTEST, Conditioning
from fewstep.diffusion.networks.hooks import SKIPS, refuse
from fewstep.diffusion.networks.layers import EMBED, HIDDEN, ZEROS, Linear, Modulation


class Block(nnx.Module):
    """x plus two dense layers of x, the second zero at the start; the embedding scales and shifts between them."""

    def __init__(self, width, dtype, *, rngs):
        self.first = Linear(width, width, dtype=dtype, rngs=rngs)
        self.modulation = Modulation(width, width, 2, rngs=rngs)
        self.last = Linear(width, width, (HIDDEN, EMBED), kernel_init=ZEROS, dtype=dtype, rngs=rngs)

    def __call__(self, x, embedding):
        scale, shift = (v.astype(x.dtype) for v in self.modulation(embedding))
        return x + self.last(nnx.silu(self.first(x) * (1 + scale) + shift))


class _Variance(nnx.Module):
    """A second output from the last features, zero at the start."""

    def __init__(self, width, features, dtype, *, rngs):
        self.block = Block(width, dtype, rngs=rngs)
        self.head = Linear(width, features, (EMBED, None), kernel_init=ZEROS, rngs=rngs)

    def __call__(self, h, embedding):
        return self.head(self.block(h, embedding).astype(jnp.float32))


class MLP(nnx.Module):
    """Predicts an array of the shape of points, in float32; with `variance` a second one beside it, from a block of its
    own.  Without normalisation, so that size is not forgotten.

    shape = (d,).  dtype is that of the computation; parameters are float32.
    fastest: of the waves of time, in radians (embeddings.py).
    """

    levels, attends = 0, False

    def __init__(
        self,
        shape,
        classes=0,
        width=128,
        depth=4,
        fastest=FASTEST,
        jumps=False,
        variance=False,
        dtype="float32",
        *,
        rngs,
    ):
        if len(shape) != 1:
            raise UsageError(f"an MLP is for points of shape (d,), not {tuple(shape)}: use UNet for images")
        if min(width, depth) < 1:
            raise UsageError(f"an MLP needs width and depth of at least 1: got {width} and {depth}")
        (features,) = shape
        dtype = jnp.dtype(dtype)
        self.conditioning = Conditioning(classes, width, jumps, fastest, rngs=rngs)
        self.stem = Linear(features, width, (None, EMBED), dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(width, dtype, rngs=rngs) for _ in range(depth)])
        self.head = Linear(width, features, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.variance = _Variance(width, features, dtype, rngs=rngs) if variance else None

    def __call__(self, x, t, d, cond, key=None):
        """x (B, d), t and d (or d None) numbers or (B,) -> (B, d) in float32, with variance (B, 2d).

        Of cond, label (B,) is read.  There is no dropout: key is ignored.  UsageError for labels or jumps the network
        was not built for, and for multipliers of what it lacks.
        """
        refuse(cond, "an MLP has no skips and no attention", *SKIPS, "attention")
        embedding = self.conditioning(len(x), t, d, cond.label)
        h = self.stem(x)
        for block in self.blocks:
            h = block(h, embedding)
        out = self.head(h.astype(jnp.float32))
        return out if self.variance is None else jnp.concatenate([out, self.variance(h, embedding)], axis=-1)
