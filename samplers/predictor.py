"""The small network of AMED (`amed`): where and how a step calls the model the second time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.networks.embeddings import sinusoids

HIDDEN, CODE = 128, 4  # widths of the layers that see the features
FASTEST = 4.0  # of the embeddings of half log-SNRs, in radians per unit
AWAY = 0.2  # how far c and a may be from 1


class Predictor(NamedTuple):
    """Its weights.  The features of a model pass two layers, and join embeddings of the ends of a step in the last."""

    hidden: Any  # (F, HIDDEN), F = 0 without features
    hidden_bias: Any
    code: Any  # (HIDDEN, CODE)
    code_bias: Any
    head: Any  # (CODE + 2 * 64, 3)
    head_bias: Any

    def __call__(self, features: Array, lam_t: Array, lam_s: Array) -> tuple[Array, Array, Array]:
        """(r, c, a), (B,) each, from features (B, F) and half log-SNRs (B,)."""
        size = jnp.sqrt(jnp.sum(features**2, 1, keepdims=True) / max(features.shape[1], 1) + 1e-6)
        code = jax.nn.silu(features / size @ self.hidden + self.hidden_bias) @ self.code + self.code_bias
        seen = jnp.concatenate([code, sinusoids(lam_t, FASTEST), sinusoids(lam_s, FASTEST)], 1)
        r, c, a = jax.nn.sigmoid(seen @ self.head + self.head_bias).astype(lam_t.dtype).T
        return r, 1 + AWAY * (2 * c - 1), 1 + AWAY * (2 * a - 1)


def untrained(features: int, seed: int = 0) -> Predictor:
    """A predictor for so many features, which says r = 1/2 and c = a = 1."""
    rng, ends = np.random.default_rng(seed), sinusoids(np.zeros(2)).size

    def normal(inputs: int, outputs: int) -> np.ndarray:
        return (rng.standard_normal((inputs, outputs)) / np.sqrt(max(inputs, 1))).astype(np.float32)

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return Predictor(
        normal(features, HIDDEN), zeros(HIDDEN), normal(HIDDEN, CODE), zeros(CODE), zeros(CODE + ends, 3), zeros(3)
    )
