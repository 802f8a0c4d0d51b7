"""The layers of the networks; images are (B, H, W, C)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fewstep.diffusion.networks.hooks import tempered
from fewstep.diffusion.networks.initializers import fan_in

ZEROS = nnx.initializers.zeros


def _dot_of_rows(x: jax.Array, kernel: jax.Array, _: Any, **options: Any) -> jax.Array:
    """x (..., in) @ kernel (in, out) as one matrix product: on CPU its gradient takes half the time of the batched
    form's."""
    rows = jax.lax.dot_general(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ())), **options)
    return rows.reshape(*x.shape[:-1], -1)


# Logical axes of parameters, which train.sharding maps to the axes of a mesh: EMBED is the residual stream between
# blocks, HIDDEN the inside of a block (the heads, the wide layer), so that a block needs one sum over devices.
EMBED, HIDDEN = "embed", "hidden"
Axes = tuple[str | None, str | None]


def Linear(inputs: int, outputs: int, axes: Axes = (EMBED, HIDDEN), **options: Any) -> nnx.Linear:
    """A dense layer with named axes of its kernel (inputs, outputs)."""
    options = {"kernel_init": fan_in, "dot_general": _dot_of_rows} | options
    return nnx.Linear(inputs, outputs, **_named(axes), **options)


def Conv(inputs: int, outputs: int, axes: Axes = (EMBED, HIDDEN), **options: Any) -> nnx.Conv:
    """A 3x3 convolution with named axes of its kernel (3, 3, inputs, outputs)."""
    options = {"kernel_size": (3, 3), "kernel_init": fan_in} | options
    return nnx.Conv(inputs, outputs, **_named((None, None, *axes)), **options)


def _named(axes: tuple[str | None, ...]) -> dict[str, Any]:
    """Axis metadata.  Biases of the residual stream are replicated, because they are too small to shard."""
    bias = axes[-1] if axes[-1] == HIDDEN else None
    return {"kernel_metadata": {"axes": axes}, "bias_metadata": {"axes": (bias,)}}


def group_norm(x: jax.Array, groups: int, scale: jax.Array, shift: jax.Array, eps: float = 1e-5) -> jax.Array:
    """x (B, ..., C) normalised over space and within groups of channels, times scale plus shift, (C,) or (B, C) each.

    One pass in float32: moments per channel, averaged over each group by a matrix product on (B, C), then one
    multiply-add over x.  (With a mean and a repeat instead of the product, XLA recomputes them for every element of x:
    on CPU the norm, scaled and shifted by an embedding, and its silu take four times as long.)  The variance is a
    difference of moments, so it loses digits where |mean| is far above the standard deviation.
    """
    wide = x.astype(jnp.float32)
    space = tuple(range(1, x.ndim - 1))

    group = np.arange(x.shape[-1]) // (x.shape[-1] // groups)
    members = np.equal.outer(group, group) * np.float32(groups / x.shape[-1])
    mean, square = (jnp.dot(jnp.mean(a, space), members, precision="highest") for a in (wide, wide * wide))
    a = jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + eps) * scale
    a, b = (jnp.expand_dims(c, space) for c in (a, shift - mean * a))
    return (wide * a + b).astype(x.dtype)


def groups_of(channels: int) -> int:
    """The number of groups: at most 32, a divisor of channels, with at least four channels per group."""
    return math.gcd(channels, max(1, min(32, channels // 4)))


class GroupNorm(nnx.Module):
    """group_norm with a learned scale and shift per channel; groups None: `groups_of` the channels."""

    def __init__(self, channels: int, groups: int | None = None, eps: float = 1e-5):
        self.groups, self.eps = groups_of(channels) if groups is None else groups, eps
        self.scale = nnx.Param(jnp.ones(channels), axes=(None,))
        self.shift = nnx.Param(jnp.zeros(channels), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        return group_norm(x, self.groups, self.scale[...], self.shift[...], self.eps)


class Modulation(nnx.Module):
    """`count` vectors (B, channels) from an embedding (B, embedding), such as a scale and a shift."""

    def __init__(
        self,
        embedding: int,
        channels: int,
        count: int,
        axes: Axes = (EMBED, HIDDEN),
        *,
        kernel_init: Callable[..., Any] = fan_in,
        rngs: nnx.Rngs,
    ):
        self.count = count
        self.dense = Linear(embedding, count * channels, axes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, embedding: jax.Array) -> list[jax.Array]:
        # Channels are the outer axis, so that a device with a part of them has all of their vectors.
        out = self.dense(embedding).reshape(embedding.shape[0], -1, self.count)
        return [out[..., i] for i in range(self.count)]


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Sets a share `rate` of x (B, ...) to zero and scales up the rest; key (B,), one per image, or None: identity."""
    if key is None or not rate:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(key)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def rms_norm(x: jax.Array, eps: float = 1e-6) -> jax.Array:
    """x (..., channels) divided by its root mean square over the channels, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps)


class RMSNorm(nnx.Module):
    """rms_norm with a learned gain per channel."""

    def __init__(self, channels: int):
        self.gain = nnx.Param(jnp.ones(channels), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        return (rms_norm(x) * self.gain[...]).astype(x.dtype)


class SelfAttention(nnx.Module):
    """Multi-head self-attention over tokens (B, N, channels), N = `tokens` in training (arXiv:1706.03762 3.2).

    qk_norm: queries and keys are divided by their root mean square over a head, with learned gains (arXiv:2302.05442).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        tokens: int,
        *,
        out_init: Callable[..., Any] = fan_in,
        biases: bool = True,
        qk_norm: bool = False,
        dtype: Any,
        rngs: nnx.Rngs,
    ):
        self.heads, self.tokens = heads, tokens
        layer: dict[str, Any] = {"use_bias": biases, "dtype": dtype, "rngs": rngs}
        self.qkv = Linear(channels, 3 * channels, **layer)
        self.qkv.kernel.set_metadata(heads=heads)
        self.out = Linear(channels, channels, (HIDDEN, EMBED), kernel_init=out_init, **layer)
        self.norms = nnx.List([RMSNorm(channels // heads) for _ in "qk"]) if qk_norm else None

    def __call__(
        self, x: jax.Array, turn: Callable[[jax.Array], jax.Array] | None = None, power: jax.Array | None = None
    ) -> jax.Array:
        """x (B, N, channels) -> (B, N, channels); turn: rotates queries and keys (B, N, heads, size).

        power (B,) or None: Cond.attention.
        """
        # Heads are the outer axis, so that devices hold whole heads if their number divides the heads.
        qkv = self.qkv(x).reshape(*x.shape[:2], self.heads, 3, -1)
        q, k, v = qkv[..., 0, :], qkv[..., 1, :], qkv[..., 2, :]
        if self.norms is not None:
            q, k = (norm(a) for norm, a in zip(self.norms, (q, k), strict=True))
        q = tempered(q, power, self.tokens)
        if turn:
            q, k = turn(q), turn(k)
        return self.out(jax.nn.dot_product_attention(q, k, v).reshape(x.shape))


class Attention(nnx.Module):
    """Self-attention over the pixels, added to its input; zero at initialization.

    norm None: the default one; heads None: of 32 channels if that divides.
    """

    def __init__(
        self,
        channels: int,
        tokens: int,
        dtype: Any,
        norm: GroupNorm | None = None,
        heads: int | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        heads = math.gcd(channels, max(1, channels // 32)) if heads is None else heads
        self.norm = GroupNorm(channels) if norm is None else norm
        self.mix = SelfAttention(channels, heads, tokens, out_init=ZEROS, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, power: jax.Array | None = None) -> jax.Array:
        tokens = self.norm(x).reshape(x.shape[0], -1, x.shape[-1])
        return x + self.mix(tokens, power=power).reshape(x.shape)


class Block(nnx.Module):
    """A residual block of two 3x3 convolutions, the second zero at initialization, then attention over the pixels,
    `tokens` in training, 0 for none.

    The embedding of time (and class, and step) scales and shifts the output of the second normalisation
    (Dhariwal & Nichol 2021, arXiv:2105.05233 sec. 3).
    """

    def __init__(
        self, channels: int, out: int, embedding: int, tokens: int, *, dropout: float, dtype: Any, rngs: nnx.Rngs
    ):
        self.norm = GroupNorm(channels)
        self.conv = Conv(channels, out, dtype=dtype, rngs=rngs)
        self.modulation = Modulation(embedding, out, 2, rngs=rngs)
        self.dropout = dropout
        self.last = Conv(out, out, (HIDDEN, EMBED), kernel_init=ZEROS, dtype=dtype, rngs=rngs)
        self.shortcut = None if channels == out else Linear(channels, out, (EMBED, None), dtype=dtype, rngs=rngs)
        self.attention = Attention(out, tokens, dtype, rngs=rngs) if tokens else None

    def __call__(
        self, x: jax.Array, embedding: jax.Array, key: jax.Array | None = None, power: jax.Array | None = None
    ) -> jax.Array:
        """x (B, H, W, channels), embedding (B, embedding), key (B,) -> (B, H, W, out); key None: no dropout.

        power (B,) or None: Cond.attention.
        """
        h = self.conv(nnx.silu(self.norm(x)))
        scale, shift = self.modulation(embedding)
        h = nnx.silu(group_norm(h, groups_of(h.shape[-1]), 1 + scale, shift))
        h = self.last(dropout(h, self.dropout, key))
        x = h + (x if self.shortcut is None else self.shortcut(x))
        return x if self.attention is None else self.attention(x, power)
