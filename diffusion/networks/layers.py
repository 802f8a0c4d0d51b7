"""The layers networks are built from; images are (B, H, W, C)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fewstep.diffusion.networks.hooks import tempered
from fewstep.diffusion.networks.initializers import fan_in

ZEROS = nnx.initializers.zeros


def _dot_of_rows(x, kernel, _, **options):
    """x (..., in) @ kernel (in, out) as one matrix product: on CPU half the time of the batched form's gradient."""
    rows = jax.lax.dot_general(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ())), **options)
    return rows.reshape(*x.shape[:-1], -1)


# Logical axes of parameters, which train.sharding maps to the axes of a mesh: EMBED is what goes from block to block,
# HIDDEN what is inside a block (the heads, the wide layer), so that a block is one sum over devices.
EMBED, HIDDEN = "embed", "hidden"


def Linear(inputs, outputs, axes=(EMBED, HIDDEN), **options):
    """Dense layer with a kernel (inputs, outputs) whose axes are named."""
    options = {"kernel_init": fan_in, "dot_general": _dot_of_rows} | options
    return nnx.Linear(inputs, outputs, **_named(axes), **options)


def Conv(inputs, outputs, axes=(EMBED, HIDDEN), **options):
    """3x3 convolution with a kernel (3, 3, inputs, outputs) whose axes are named."""
    options = {"kernel_size": (3, 3), "kernel_init": fan_in} | options
    return nnx.Conv(inputs, outputs, **_named((None, None, *axes)), **options)


def _named(axes):
    """A vector of the residual stream is too small to be worth dividing."""
    bias = axes[-1] if axes[-1] == HIDDEN else None
    return {"kernel_metadata": {"axes": axes}, "bias_metadata": {"axes": (bias,)}}


def group_norm(x, groups, scale, shift, eps=1e-5):
    """x (B, ..., C) normalised over space and within groups of channels, times scale plus shift, (C,) or (B, C) each.

    One pass in float32: moments per channel, averaged over each group by a matrix product on (B, C), then one
    multiply-add over x.  (A mean and a repeat in place of the product XLA computes anew for every element of x: on CPU
    the norm, scaled and shifted by an embedding, and its silu take four times as long.)  The variance is a difference
    of moments, so it loses digits where |mean| is far above the standard deviation.
    """
    wide = x.astype(jnp.float32)
    space = tuple(range(1, x.ndim - 1))

    group = np.arange(x.shape[-1]) // (x.shape[-1] // groups)
    members = np.equal.outer(group, group) * np.float32(groups / x.shape[-1])
    mean, square = (jnp.dot(jnp.mean(a, space), members, precision="highest") for a in (wide, wide * wide))
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
        self.scale = nnx.Param(jnp.ones(channels), axes=(None,))
        self.shift = nnx.Param(jnp.zeros(channels), axes=(None,))

    def __call__(self, x):
        return group_norm(x, self.groups, self.scale[...], self.shift[...])


class Modulation(nnx.Module):
    """`count` vectors (B, channels) from an embedding (B, embedding), such as a scale and a shift."""

    def __init__(self, embedding, channels, count, axes=(EMBED, HIDDEN), *, kernel_init=fan_in, rngs):
        self.count = count
        self.dense = Linear(embedding, count * channels, axes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, embedding):
        # Channels are the outer axis, so that a device which has a part of them has all of their vectors.
        out = self.dense(embedding).reshape(embedding.shape[0], -1, self.count)
        return [out[..., i] for i in range(self.count)]


def dropout(x, rate, key):
    """Zeros a share `rate` of x (B, ...) and scales up the rest; one key an image, key (B,), or None: x as it is."""
    if key is None or not rate:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(key)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


class SelfAttention(nnx.Module):
    """Multi-head self-attention over tokens (B, N, channels), N = `tokens` in training (arXiv:1706.03762 3.2)."""

    def __init__(self, channels, heads, tokens, *, out_init=fan_in, dtype, rngs):
        self.heads, self.tokens = heads, tokens
        self.qkv = Linear(channels, 3 * channels, dtype=dtype, rngs=rngs)
        self.out = Linear(channels, channels, (HIDDEN, EMBED), kernel_init=out_init, dtype=dtype, rngs=rngs)

    def __call__(self, x, turn=None, power=None):
        """x (B, N, channels), the same shape back; turn: a function of queries and keys (B, N, heads, size).

        power (B,) or None: Cond.attention.
        """
        # Heads are the outer axis, so that a device has whole heads wherever the devices divide them.
        qkv = self.qkv(x).reshape(*x.shape[:2], self.heads, 3, -1)
        q, k, v = tempered(qkv[..., 0, :], power, self.tokens), qkv[..., 1, :], qkv[..., 2, :]
        if turn:
            q, k = turn(q), turn(k)
        return self.out(jax.nn.dot_product_attention(q, k, v).reshape(x.shape))


class Attention(nnx.Module):
    """Self-attention over the pixels, added to its input; zero at the start; heads of 32 channels if they divide."""

    def __init__(self, channels, tokens, dtype, *, rngs):
        heads = math.gcd(channels, max(1, channels // 32))
        self.norm = GroupNorm(channels)
        self.mix = SelfAttention(channels, heads, tokens, out_init=ZEROS, dtype=dtype, rngs=rngs)

    def __call__(self, x, power=None):
        tokens = self.norm(x).reshape(x.shape[0], -1, x.shape[-1])
        return x + self.mix(tokens, power=power).reshape(x.shape)


class Block(nnx.Module):
    """Residual block of two 3x3 convolutions, the second zero at the start, then attention over the pixels, `tokens` in
    training, 0 for none.

    The time (and class, and step) embedding scales and shifts what the second normalisation returns
    (Dhariwal & Nichol 2021, arXiv:2105.05233 sec. 3).
    """

    def __init__(self, channels, out, embedding, tokens, *, dropout, dtype, rngs):
        self.norm = GroupNorm(channels)
        self.conv = Conv(channels, out, dtype=dtype, rngs=rngs)
        self.modulation = Modulation(embedding, out, 2, rngs=rngs)
        self.dropout = dropout
        self.last = Conv(out, out, (HIDDEN, EMBED), kernel_init=ZEROS, dtype=dtype, rngs=rngs)
        self.shortcut = None if channels == out else Linear(channels, out, (EMBED, None), dtype=dtype, rngs=rngs)
        self.attention = Attention(out, tokens, dtype, rngs=rngs) if tokens else None

    def __call__(self, x, embedding, key=None, power=None):
        """x (B, H, W, channels), embedding (B, embedding), key (B,) -> (B, H, W, out); key None: no dropout.

        power (B,) or None: Cond.attention.
        """
        h = self.conv(nnx.silu(self.norm(x)))
        scale, shift = self.modulation(embedding)
        h = nnx.silu(group_norm(h, groups_of(h.shape[-1]), 1 + scale, shift))
        h = self.last(dropout(h, self.dropout, key))
        x = h + (x if self.shortcut is None else self.shortcut(x))
        return x if self.attention is None else self.attention(x, power)
