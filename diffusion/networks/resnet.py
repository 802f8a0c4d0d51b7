"""The residual blocks of published U-Nets; images are (B, H, W, C)."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fewstep.diffusion.arrays import pooled, repeated
from fewstep.diffusion.networks.layers import (
    EMBED,
    HIDDEN,
    ZEROS,
    Attention,
    Conv,
    GroupNorm,
    Linear,
    Modulation,
    dropout,
    group_norm,
)  # fmt: skip
from fewstep.errors import UsageError

Resampling = Literal["conv", "block"]
Filter = Literal["box", "blur"]
Modulated = Literal["add", "scale_shift"]
TAPS = np.array([1, 3, 3, 1], np.float32) / 8


def halved(x: jax.Array, kind: Filter) -> jax.Array:
    """(B, H, W, C) -> (B, H/2, W/2, C): means of 2x2 pixels, or a blur of 4x4 with zeros outside (NCSN++)."""
    return pooled(x, 2) if kind == "box" else blurred(x, 1)


def blurred(x: jax.Array, padding: int) -> jax.Array:
    """The outer product of TAPS at every second pixel of x, padded with zeros on every side."""
    kernel = jnp.asarray(np.outer(TAPS, TAPS), x.dtype)[:, :, None, None]
    return _per_channel(x, kernel, window_strides=(2, 2), padding=[(padding, padding)] * 2)


def doubled(x: jax.Array, kind: Filter) -> jax.Array:
    """(B, H, W, C) -> (B, 2H, 2W, C): pixels repeated, or the transpose of the blur, times 4."""
    if kind == "box":
        return repeated(x, 2)
    kernel = jnp.asarray(4 * np.outer(TAPS, TAPS), x.dtype)[:, :, None, None]
    return _per_channel(x, kernel, window_strides=(1, 1), padding=[(2, 2)] * 2, lhs_dilation=(2, 2))


def _per_channel(x, kernel, **options):
    """The convolution of every channel of x with one kernel (k, k, 1, 1)."""
    channels = x.shape[-1]
    kernel = jnp.tile(kernel, (1, 1, 1, channels))
    form = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=form, feature_group_count=channels, precision="highest", **options
    )


@dataclass(frozen=True)
class Style:
    """What the blocks of one network have in common.

    groups: at most so many groups of a norm, each of `group_size` channels or more.  heads: their number, or with
    `head_size` the size of each.  residual: the factor of every sum of a block with its input.  project: the shortcut
    of a block that resamples has a convolution also if its channels stay the same.
    """

    groups: int = 32
    group_size: int = 1
    eps: float = 1e-5
    heads: int = 1
    head_size: int | None = None
    modulation: Modulated = "add"
    filter: Filter = "box"
    residual: float = 1.0
    project: bool = False
    embedding: int = 512
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def norm(self, channels: int) -> GroupNorm:
        """A norm over these channels; UsageError unless they divide into its groups."""
        groups = min(self.groups, channels // self.group_size)
        _check_divides(channels, groups, "groups of a norm")
        return GroupNorm(channels, groups, self.eps)

    def heads_of(self, channels: int) -> int:
        """The number of heads of an attention; UsageError unless the channels divide into them."""
        heads = self.heads if self.head_size is None else max(1, channels // self.head_size)
        _check_divides(channels, heads, "heads")
        return heads


def _check_divides(channels, number, what):
    if number < 1 or channels % number:
        raise UsageError(f"{channels} channels do not divide into {number} {what}")


class Block(nnx.Module):
    """norm, silu, (resampling,) convolution, norm, silu, convolution, added to the input; then attention over the
    pixels, `tokens` in training, 0 for none.

    The embedding is added before the second norm (DDPM, NCSN++) or scales and shifts its result (ADM).  resample: 1/2
    or 2 changes the number of pixels on each side.
    """

    def __init__(self, inputs: int, out: int, style: Style, tokens: int = 0, resample: float = 1, *, rngs: nnx.Rngs):
        layer: dict[str, Any] = {"dtype": style.dtype, "rngs": rngs}
        self.style, self.resample = style, resample
        self.norm = style.norm(inputs)
        self.conv = Conv(inputs, out, **layer)
        self.modulation = Modulation(style.embedding, out, 1 + (style.modulation == "scale_shift"), rngs=rngs)
        self.last_norm = style.norm(out)
        self.last = Conv(out, out, (HIDDEN, EMBED), kernel_init=ZEROS, **layer)
        projects = inputs != out or (style.project and resample != 1)
        self.shortcut = Linear(inputs, out, (EMBED, None), **layer) if projects else None
        heads = style.heads_of(out) if tokens else 0
        self.attention = Attention(out, tokens, style.dtype, style.norm(out), heads, rngs=rngs) if tokens else None

    def __call__(
        self, x: jax.Array, embedding: jax.Array, key: jax.Array | None = None, power: jax.Array | None = None
    ) -> jax.Array:
        """x (B, H, W, inputs), embedding (B, width), key (B,) -> (B, H', W', out); key None: no dropout.

        power (B,) or None: Cond.attention.
        """
        h = self.conv(self._resampled(nnx.silu(self.norm(x))))
        norm = self.last_norm
        if self.style.modulation == "add":
            (shift,) = self.modulation(embedding)
            h = norm(h + shift[:, None, None].astype(h.dtype))
        else:
            scale, shift = self.modulation(embedding)
            gain, offset = norm.scale[...] * (1 + scale), norm.shift[...] * (1 + scale) + shift
            h = group_norm(h, norm.groups, gain, offset, norm.eps)
        h = self.last(dropout(nnx.silu(h), self.style.dropout, key))
        x = self._resampled(x)
        x = (h + (x if self.shortcut is None else self.shortcut(x))) * self.style.residual
        return x if self.attention is None else self.attention(x, power) * self.style.residual

    def _resampled(self, x):
        if self.resample == 1:
            return x
        return (halved if self.resample < 1 else doubled)(x, self.style.filter)
