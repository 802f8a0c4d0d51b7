"""Diffusion transformer for images, after Peebles & Xie 2022 (arXiv:2212.09748)."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.networks.embeddings import FASTEST, Conditioning
from fewstep.diffusion.networks.hooks import SKIPS, refuse
from fewstep.diffusion.networks.layers import EMBED, HIDDEN, ZEROS, Linear, Modulation, SelfAttention
from fewstep.diffusion.networks.positions import places, rotary, sincos


def _modulated(x, scale, shift, eps=1e-6):
    """x (B, N, width), each token to mean 0 and variance 1 in float32, then scaled and shifted by (B, width) each."""
    wide = x.astype(jnp.float32)
    wide -= wide.mean(-1, keepdims=True)
    wide *= jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + eps)
    return (wide * (1 + scale[:, None]) + shift[:, None]).astype(x.dtype)


class Block(nnx.Module):
    """Attention and a wide layer, each added to the tokens through a gate that is zero at the start (adaLN-zero)."""

    def __init__(self, width, heads, ratio, tokens, *, dtype, rngs):
        self.modulation = Modulation(width, width, 6, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.attention = SelfAttention(width, heads, tokens, dtype=dtype, rngs=rngs)
        self.wide = Linear(width, ratio * width, dtype=dtype, rngs=rngs)
        self.out = Linear(ratio * width, width, (HIDDEN, EMBED), dtype=dtype, rngs=rngs)

    def __call__(self, x, embedding, turn=None, power=None):
        """x (B, N, width), embedding (B, width) -> (B, N, width); turn and power as of SelfAttention."""
        modulation = self.modulation(embedding)
        scale, shift, gate = modulation[:3]
        x += gate[:, None].astype(x.dtype) * self.attention(_modulated(x, scale, shift), turn, power)
        scale, shift, gate = modulation[3:]
        return x + gate[:, None].astype(x.dtype) * self.out(nnx.gelu(self.wide(_modulated(x, scale, shift))))


class _Variance(nnx.Module):
    """A second output from the last tokens, zero at the start: a block, a norm, a dense layer."""

    def __init__(self, width, outputs, block, *, rngs):
        self.block = block()
        self.modulation = Modulation(width, width, 2, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.head = Linear(width, outputs, (EMBED, None), kernel_init=ZEROS, rngs=rngs)


class DiT(nnx.Module):
    """Predicts an array of the shape of an image, in float32; with `variance` a second one beside it.

    shape = (H, W, C), H and W divisible by `patch`, else UsageError; other H and W may be given when it is called,
    and positions are then those of the same image on a finer or coarser grid.
    DiT-S, B, L and XL have (width, depth, heads) = (384, 12, 6), (768, 12, 12), (1024, 24, 16), (1152, 28, 16).
    positions: "sincos", added to the tokens, or "rotary", in the attention.  remat: blocks are computed again in the
    backward pass instead of being kept.  dtype is that of the computation; parameters are float32.
    fastest: of the waves of time, in radians (embeddings.py).
    """

    levels, attends = 0, True

    def __init__(
        self,
        shape,
        classes=0,
        patch=2,
        width=384,
        depth=12,
        heads=6,
        ratio=4,
        positions="sincos",
        remat=False,
        fastest=FASTEST,
        jumps=False,
        variance=False,
        dtype="float32",
        *,
        rngs,
    ):
        if len(shape) != 3:
            raise UsageError(f"a DiT is for images of shape (H, W, C), not {tuple(shape)}: use MLP for points")
        if min(patch, width, depth, heads, ratio) < 1:
            raise UsageError(
                f"a DiT needs patch, width, depth, heads and ratio of at least 1: got {patch}, {width}, {depth}, "
                f"{heads} and {ratio}"
            )
        if positions not in ("sincos", "rotary"):
            raise UsageError(f"DiT.positions is 'sincos' or 'rotary', not {positions!r}")
        if width % heads or (width // heads if positions == "rotary" else width) % 4:
            raise UsageError(
                f"a DiT of width {width} does not divide into {heads} heads, or those into pairs of two coordinates: "
                f"choose a width that is a multiple of 4 heads"
            )
        height, wide, channels = shape
        self.patch, self.heads, self.positions, self.remat = patch, heads, positions, remat
        self.dtype = jnp.dtype(dtype)
        self.trained = self._grid(height, wide)
        self.conditioning = Conditioning(classes, width, jumps, fastest, rngs=rngs)
        self.stem = Linear(patch * patch * channels, width, (None, EMBED), dtype=self.dtype, rngs=rngs)
        block = partial(Block, width, heads, ratio, math.prod(self.trained), dtype=self.dtype, rngs=rngs)
        self.blocks = nnx.List([block() for _ in range(depth)])
        self.modulation = Modulation(width, width, 2, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.head = Linear(width, patch * patch * channels, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.variance = _Variance(width, patch * patch * channels, block, rngs=rngs) if variance else None

    def _grid(self, height, width):
        """Rows and columns of tokens."""
        if height % self.patch or width % self.patch:
            raise UsageError(
                f"a DiT cuts images into patches of {self.patch}: {height}x{width} must be divisible by it"
            )
        return height // self.patch, width // self.patch

    def __call__(self, x, t, d, cond, key=None):
        """x (B, H, W, C), t and d (or d None) numbers or (B,) -> (B, H, W, C) in float32, with variance (B, H, W, 2C);
        of cond, label (B,) and attention (B,) are read.

        There is no dropout: key is ignored.  UsageError for labels or jumps the network was not built for, and for
        multipliers of skips.
        """
        refuse(cond, "a DiT has no skips", *SKIPS)
        batch, height, width, channels = x.shape
        (rows, columns), p = self._grid(height, width), self.patch
        tokens = x.reshape(batch, rows, p, columns, p, channels).swapaxes(2, 3).reshape(batch, rows * columns, -1)

        def image(h, part):
            scale, shift = part.modulation(embedding)
            h = part.head(_modulated(h.astype(jnp.float32), scale, shift))
            return h.reshape(batch, rows, columns, p, p, channels).swapaxes(2, 3).reshape(x.shape)

        h = self.stem(tokens)
        turn, at = None, places((rows, columns), self.trained)
        if self.positions == "sincos":
            h += sincos(at, h.shape[-1]).astype(h.dtype)
        else:
            turn = rotary(at, h.shape[-1] // self.heads)
        embedding = self.conditioning(batch, t, d, cond.label)

        def run(block, h, embedding):
            return block(h, embedding, turn, cond.attention)

        run = nnx.remat(run) if self.remat else run
        for block in self.blocks:
            h = run(block, h, embedding)
        if self.variance is None:
            return image(h, self)
        return jnp.concatenate([image(h, self), image(run(self.variance.block, h, embedding), self.variance)], axis=-1)
