"""The blocks of a DiT: (tokens, embedding of the time and the class) -> tokens."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fewstep.diffusion.networks.gau import GatedUnit
from fewstep.diffusion.networks.layers import EMBED, HIDDEN, ZEROS, Linear, Modulation, SelfAttention, rms_norm

Unit = Literal["attention", "deepnet", "gau"]
Norm = Literal["layer", "rms"]
Wide = Literal["gelu", "swiglu"]


class Style(NamedTuple):
    """Options of the blocks of a DiT, which has `depth` of them."""

    depth: int
    norm: Norm = "layer"
    wide: Wide = "gelu"
    qk_norm: bool = False
    biases: bool = True


def modulated(x: jax.Array, scale: jax.Array, shift: jax.Array, centred: bool) -> jax.Array:
    """x (B, N, width) with each token normalised in float32, then scaled and shifted by (B, width) each.

    centred: the mean of a token is subtracted before the norm.
    """
    wide = x.astype(jnp.float32)
    wide = wide - wide.mean(-1, keepdims=True) if centred else wide
    return (rms_norm(wide) * (1 + scale[:, None]) + shift[:, None]).astype(x.dtype)


class Block(nnx.Module):
    """Attention and a wide layer, each added to the tokens through a gate that starts at zero (adaLN-zero)."""

    vectors = 6  # of the modulation

    def __init__(self, width: int, heads: int, ratio: int, tokens: int, style: Style, *, dtype: Any, rngs: nnx.Rngs):
        self.centred = style.norm == "layer"
        self.modulation = Modulation(width, width, self.vectors, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        options: dict[str, Any] = {"biases": style.biases, "qk_norm": style.qk_norm, "dtype": dtype, "rngs": rngs}
        self.attention = SelfAttention(width, heads, tokens, **options)
        layer: dict[str, Any] = {"use_bias": style.biases, "dtype": dtype, "rngs": rngs}
        hidden = ratio * width if style.wide == "gelu" else 8 * max(1, round(ratio * width / 12))
        self.wide = Linear(width, hidden, **layer)
        self.gate = Linear(width, hidden, **layer) if style.wide == "swiglu" else None
        self.out = Linear(hidden, width, (HIDDEN, EMBED), **layer)

    def __call__(
        self,
        x: jax.Array,
        embedding: jax.Array,
        turn: Callable[[jax.Array], jax.Array] | None = None,
        power: jax.Array | None = None,
    ) -> jax.Array:
        """x (B, N, width), embedding (B, width) -> (B, N, width); turn and power as in SelfAttention."""
        modulation = self.modulation(embedding)
        scale, shift, share = modulation[:3]
        x += share[:, None].astype(x.dtype) * self.attention(modulated(x, scale, shift, self.centred), turn, power)
        scale, shift, share = modulation[3:]
        return x + share[:, None].astype(x.dtype) * self.widened(modulated(x, scale, shift, self.centred))

    def widened(self, h: jax.Array) -> jax.Array:
        """The wide layer: h (B, N, width) -> (B, N, width)."""
        return self.out(nnx.gelu(self.wide(h)) if self.gate is None else nnx.silu(self.gate(h)) * self.wide(h))


class DeepBlock(Block):
    """x = norm(alpha x + f(x)) for attention and for the wide layer, with alpha = (2 depth)^(1/4); the initial weights
    of f but those of queries and keys are times (8 depth)^(-1/4): DeepNet, an encoder (Wang et al. 2022,
    arXiv:2203.00555).  Not as there: the scale and shift of a norm are the modulation's, and the initial weights that
    are scaled are of variance 1 / inputs."""

    vectors = 4

    def __init__(self, width: int, heads: int, ratio: int, tokens: int, style: Style, *, dtype: Any, rngs: nnx.Rngs):
        super().__init__(width, heads, ratio, tokens, style, dtype=dtype, rngs=rngs)
        self.alpha, beta = (2 * style.depth) ** 0.25, (8 * style.depth) ** -0.25
        values = np.tile(np.repeat([1.0, 1.0, beta], width // heads), heads)
        layers = (self.attention.out, self.wide, self.out, *([self.gate] if self.gate else []))
        for layer, factor in ((self.attention.qkv, values), *((layer, beta) for layer in layers)):
            layer.kernel[...] = (layer.kernel[...] * factor).astype(layer.kernel[...].dtype)

    def __call__(
        self,
        x: jax.Array,
        embedding: jax.Array,
        turn: Callable[[jax.Array], jax.Array] | None = None,
        power: jax.Array | None = None,
    ) -> jax.Array:
        """As Block."""
        scale, shift, later_scale, later_shift = self.modulation(embedding)
        x = modulated(self.alpha * x + self.attention(x, turn, power), scale, shift, self.centred)
        return modulated(self.alpha * x + self.widened(x), later_scale, later_shift, self.centred)


class GatedBlock(nnx.Module):
    """Two gated attention units, each added to the tokens through a gate that starts at zero."""

    def __init__(self, width: int, heads: int, ratio: int, tokens: int, style: Style, *, dtype: Any, rngs: nnx.Rngs):
        self.centred = style.norm == "layer"
        self.modulation = Modulation(width, width, 6, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        sizes = width, ratio * width // 2, width // heads, tokens
        self.units = nnx.List([GatedUnit(*sizes, style.biases, dtype=dtype, rngs=rngs) for _ in range(2)])

    def __call__(
        self,
        x: jax.Array,
        embedding: jax.Array,
        turn: Callable[[jax.Array], jax.Array] | None = None,
        power: jax.Array | None = None,
    ) -> jax.Array:
        """As Block."""
        modulation = self.modulation(embedding)
        for unit, (scale, shift, share) in zip(self.units, (modulation[:3], modulation[3:]), strict=True):
            x += share[:, None].astype(x.dtype) * unit(modulated(x, scale, shift, self.centred), turn, power)
        return x


BLOCKS: dict[Unit, type[nnx.Module]] = {"attention": Block, "deepnet": DeepBlock, "gau": GatedBlock}
