"""Gated attention units, two of which stand for a block of attention and a wide layer (Hua et al. 2022,
arXiv:2202.10447)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.networks.hooks import tempered
from fewstep.diffusion.networks.layers import EMBED, HIDDEN, Linear


class Affine(nnx.Module):
    """x (..., channels) times a learned gain plus a learned bias."""

    def __init__(self, channels: int):
        self.gain = nnx.Param(jnp.ones(channels), axes=(None,))
        self.bias = nnx.Param(jnp.zeros(channels), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        return (x * self.gain[...] + self.bias[...]).astype(x.dtype)


class GatedUnit(nnx.Module):
    """out(gate(x) * A value(x)), with A the softmax attention of one head whose queries and keys are two affine maps of
    one vector of `size` per token; N = `tokens` in training."""

    def __init__(self, width: int, hidden: int, size: int, tokens: int, biases: bool, *, dtype: Any, rngs: nnx.Rngs):
        self.tokens = tokens
        layer: dict[str, Any] = {"use_bias": biases, "dtype": dtype, "rngs": rngs}
        self.gate, self.value = (Linear(width, hidden, **layer) for _ in range(2))
        self.shared = Linear(width, size, (EMBED, None), **layer)
        self.query, self.key = Affine(size), Affine(size)
        self.out = Linear(hidden, width, (HIDDEN, EMBED), **layer)

    def __call__(
        self, x: jax.Array, turn: Callable[[jax.Array], jax.Array] | None = None, power: jax.Array | None = None
    ) -> jax.Array:
        """x (B, N, width) -> (B, N, width); turn and power as in SelfAttention."""
        shared = nnx.silu(self.shared(x))[:, :, None]
        q, k = tempered(self.query(shared), power, self.tokens), self.key(shared)
        if turn:
            q, k = turn(q), turn(k)
        logits = jnp.einsum("bnhc,bmhc->bnm", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
        weight = jax.nn.softmax(logits).astype(x.dtype)
        return self.out(nnx.silu(self.gate(x)) * (weight @ nnx.silu(self.value(x))))
