"""The blocks of a DiT: (tokens, embedding of the time and the class) -> tokens."""

from collections.abc import Callable
from functools import partial
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
Tokens = Callable[[jax.Array], jax.Array]
Turn = Tokens | None


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
    """Two functions of the tokens, each added to them through a gate that starts at zero (adaLN-zero)."""

    vectors = 3  # of the modulation, for each function

    def __init__(self, width: int, style: Style, *, rngs: nnx.Rngs):
        self.centred = style.norm == "layer"
        self.modulation = Modulation(width, width, 2 * self.vectors, (EMBED, None), kernel_init=ZEROS, rngs=rngs)

    def __call__(
        self, x: jax.Array, embedding: jax.Array, turn: Turn = None, power: jax.Array | None = None
    ) -> jax.Array:
        """x (B, N, width), embedding (B, width) -> (B, N, width); turn and power as in SelfAttention."""
        modulation, count = self.modulation(embedding), self.vectors
        for function, vectors in zip(
            self.functions(turn, power), (modulation[:count], modulation[count:]), strict=True
        ):
            x = self.joined(x, function, *vectors)
        return x

    def functions(self, turn: Turn, power: jax.Array | None) -> tuple[Tokens, Tokens]:
        """The two, each (B, N, width) -> (B, N, width)."""
        raise NotImplementedError

    def joined(self, x: jax.Array, function: Tokens, *vectors: jax.Array) -> jax.Array:
        """x (B, N, width) with what a function makes of it; vectors: scale, shift and share, (B, width) each."""
        scale, shift, share = vectors
        return x + share[:, None].astype(x.dtype) * function(modulated(x, scale, shift, self.centred))


class AttentionBlock(Block):
    """Attention and a wide layer."""

    def __init__(self, width: int, heads: int, ratio: int, tokens: int, style: Style, *, dtype: Any, rngs: nnx.Rngs):
        super().__init__(width, style, rngs=rngs)
        options: dict[str, Any] = {"biases": style.biases, "qk_norm": style.qk_norm, "dtype": dtype, "rngs": rngs}
        self.attention = SelfAttention(width, heads, tokens, **options)
        layer: dict[str, Any] = {"use_bias": style.biases, "dtype": dtype, "rngs": rngs}
        hidden = ratio * width if style.wide == "gelu" else 8 * max(1, round(ratio * width / 12))
        self.wide = Linear(width, hidden, **layer)
        self.gate = Linear(width, hidden, **layer) if style.wide == "swiglu" else None
        self.out = Linear(hidden, width, (HIDDEN, EMBED), **layer)

    def functions(self, turn: Turn, power: jax.Array | None) -> tuple[Tokens, Tokens]:
        """As of `Block`."""
        return partial(self.attention, turn=turn, power=power), self._widened

    def _widened(self, h):
        return self.out(nnx.gelu(self.wide(h)) if self.gate is None else nnx.silu(self.gate(h)) * self.wide(h))


class DeepBlock(AttentionBlock):
    """x = norm(alpha x + f(x)) for attention and for the wide layer, with alpha = (2 depth)^(1/4); the initial weights
    of f but those of queries and keys are times (8 depth)^(-1/4): DeepNet, an encoder (Wang et al. 2022,
    arXiv:2203.00555).  Not as there: the scale and shift of a norm are the modulation's, and the initial weights that
    are scaled are of variance 1 / inputs."""

    vectors = 2

    def __init__(self, width: int, heads: int, ratio: int, tokens: int, style: Style, *, dtype: Any, rngs: nnx.Rngs):
        super().__init__(width, heads, ratio, tokens, style, dtype=dtype, rngs=rngs)
        self.alpha, beta = (2 * style.depth) ** 0.25, (8 * style.depth) ** -0.25
        values = np.tile(np.repeat([1.0, 1.0, beta], width // heads), heads)
        layers = (self.attention.out, self.wide, self.out, *([self.gate] if self.gate else []))
        for layer, factor in ((self.attention.qkv, values), *((layer, beta) for layer in layers)):
            layer.kernel[...] = (layer.kernel[...] * factor).astype(layer.kernel[...].dtype)

    def joined(self, x: jax.Array, function: Tokens, *vectors: jax.Array) -> jax.Array:
        """As of `Block`; vectors: scale and shift."""
        scale, shift = vectors
        return modulated(self.alpha * x + function(x), scale, shift, self.centred)


class GatedBlock(Block):
    """Two gated attention units."""

    def __init__(self, width: int, heads: int, ratio: int, tokens: int, style: Style, *, dtype: Any, rngs: nnx.Rngs):
        super().__init__(width, style, rngs=rngs)
        sizes = width, ratio * width // 2, width // heads, tokens
        self.units = nnx.List([GatedUnit(*sizes, style.biases, dtype=dtype, rngs=rngs) for _ in range(2)])

    def functions(self, turn: Turn, power: jax.Array | None) -> tuple[Tokens, Tokens]:
        """As of `Block`."""
        first, second = (partial(unit, turn=turn, power=power) for unit in self.units)
        return first, second


BLOCKS: dict[Unit, Callable[..., Block]] = {"attention": AttentionBlock, "deepnet": DeepBlock, "gau": GatedBlock}
