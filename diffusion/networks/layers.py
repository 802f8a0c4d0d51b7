"""The layers networks are built from; images are (B, H, W, C)."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from diffusion.networks.initializers import fan_in

ZEROS = nnx.initializers.zeros


def _dot_of_rows(x, kernel, _, **options):
    """x (..., in) @ kernel (in, out) as one matrix product: on CPU half the time of the batched form's gradient."""
    rows = jax.lax.dot_general(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ())), **options)
    return rows.reshape(*x.shape[:-1], -1)


Linear = partial(nnx.Linear, kernel_init=fan_in, dot_general=_dot_of_rows)
Conv = partial(nnx.Conv, kernel_size=(3, 3), kernel_init=fan_in)


def group_norm(x, groups, scale, shift, eps=1e-5):
    """x (B, ..., C) normalised over space and within groups of channels, times scale plus shift, (C,) or (B, C) each.

    One pass in float32: moments per channel, grouped on (B, C), then one multiply-add over x.  The variance is a
    difference of moments, so it loses digits where |mean| is far above the standard deviation.
    """
    wide = x.astype(jnp.float32)
    space = tuple(range(1, x.ndim - 1))

    def grouped(moment):
        members = moment.shape[-1] // groups
        return moment.reshape(-1, groups, members).mean(-1).repeat(members, axis=-1)

    mean, square = grouped(jnp.mean(wide, space)), grouped(jnp.mean(wide * wide, space))
    a = jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + eps) * scale
    a, b = (jnp.expand_dims(c, space) for c in (a, shift - mean * a))
    return (wide * a + b).astype(x.dtype)


def groups_of(channels):
    """Number of groups: of four channels or more, at most 32, a divisor of channels."""
    return math.gcd(channels, max(1, min(32, channels // 4)))


class GroupNorm(nnx.Module):
    """group_norm with a learned scale and shift of each channel."""

    def __init__(self, channels):
        self.groups = groups_of(channels)
        self.scale = nnx.Param(jnp.ones(channels))
        self.shift = nnx.Param(jnp.zeros(channels))

    def __call__(self, x):
        return group_norm(x, self.groups, self.scale[...], self.shift[...])


class Attention(nnx.Module):
    """Self-attention over the pixels, added to its input; zero at the start; heads of 32 channels if they divide."""

    def __init__(self, channels, dtype, *, rngs):
        self.heads = math.gcd(channels, max(1, channels // 32))
        self.norm = GroupNorm(channels)
        self.qkv = Linear(channels, 3 * channels, dtype=dtype, rngs=rngs)
        self.out = Linear(channels, channels, kernel_init=ZEROS, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        batch, channels = x.shape[0], x.shape[-1]
        qkv = self.qkv(self.norm(x)).reshape(batch, -1, 3, self.heads, channels // self.heads)
        mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return x + self.out(mixed.reshape(x.shape))


class Block(nnx.Module):
    """Residual block of two 3x3 convolutions, the second zero at the start, then attention if `attend`.

    The time (and class, and step) embedding scales and shifts what the second normalisation returns
    (Dhariwal & Nichol 2021, arXiv:2105.05233 sec. 3).
    """

    def __init__(self, channels, out, embedding, attend, *, dropout, dtype, rngs):
        self.norm = GroupNorm(channels)
        self.conv = Conv(channels, out, dtype=dtype, rngs=rngs)
        self.modulation = Linear(embedding, 2 * out, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.last = Conv(out, out, kernel_init=ZEROS, dtype=dtype, rngs=rngs)
        self.shortcut = None if channels == out else Linear(channels, out, dtype=dtype, rngs=rngs)
        self.attention = Attention(out, dtype, rngs=rngs) if attend else None

    def __call__(self, x, embedding, key=None):
        """x (B, H, W, channels), embedding (B, embedding) -> (B, H, W, out); key None: no dropout."""
        h = self.conv(nnx.silu(self.norm(x)))
        scale, shift = jnp.split(self.modulation(embedding), 2, axis=-1)
        h = nnx.silu(group_norm(h, groups_of(h.shape[-1]), 1 + scale, shift))
        h = self.last(self.dropout(h, deterministic=key is None, rngs=key))
        x = h + (x if self.shortcut is None else self.shortcut(x))
        return x if self.attention is None else self.attention(x)
