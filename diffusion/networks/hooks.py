"""Multipliers inside a network that training-free levers pass through Cond: of skips, features and attention.

Each multiplier has one row per image, and is the identity, bit for bit, at its neutral value.
"""

import math
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.denoiser import Cond
from fewstep.errors import UsageError

SKIPS = "skip", "low", "backbone"  # fields of Cond that are (B, levels)


def check_unused(cond: Cond, lacks: str, *names: str) -> None:
    """Raises UsageError unless these fields of cond are None, for a network that lacks what they multiply."""
    for name in names:
        if getattr(cond, name) is not None:
            raise UsageError(f"{lacks}: leave cond.{name} None")


def check_columns(cond: Cond, levels: int) -> None:
    """Raises UsageError unless the multipliers of skips and features are (B, levels)."""
    for name in SKIPS:
        value = getattr(cond, name)
        if value is not None and jnp.shape(value)[1:] != (levels,):
            raise UsageError(
                f"cond.{name} has shape {jnp.shape(value)}: it needs one column for each of {levels} levels"
            )


def joined(h: Array, skip: Array, cond: Cond, column: int) -> Array:
    """Concatenates features of a decoder h (B, H, W, C) and a skip (B, H, W, D), scaled by a column of cond, to
    (B, H, W, C + D).

    The first half of the channels of h is multiplied by backbone, the lowest frequencies of the skip by low (FreeU, Si
    et al. 2023, arXiv:2309.11497), the whole skip by skip (Ma et al. 2024, arXiv:2402.15170).
    """

    def factor(multipliers: Array) -> Array:
        return multipliers[:, column, None, None, None]

    if cond.backbone is not None:
        channels = h.shape[-1]
        h = (h * jnp.where(np.arange(channels) < channels // 2, factor(cond.backbone), 1)).astype(h.dtype)
    if cond.low is not None:
        wide = skip.astype(jnp.float32)
        skip = (wide + (factor(cond.low) - 1) * lowpass(wide)).astype(skip.dtype)
    if cond.skip is not None:
        skip = (skip * factor(cond.skip)).astype(skip.dtype)
    return jnp.concatenate([h, skip], axis=-1)


def lowpass(x: Array) -> Array:
    """The component of x (B, H, W, C), float32, with frequencies |k| <= 1 on both axes, including the mean.

    The box is symmetric.  FreeU's code takes only the bins -1 and 0 and drops the resulting imaginary part: it passes
    half of the waves (0, 1), (1, 0) and (1, 1), and nothing of (1, -1).
    """
    rows, columns = (_projection(n) for n in x.shape[1:3])
    x = jnp.einsum("ij,bjwc->biwc", rows, x, precision="highest")
    return jnp.einsum("ij,bhjc->bhic", columns, x, precision="highest")


@cache
def _projection(n: int) -> np.ndarray:
    """(n, n) float32: the projection of n samples to frequencies of at most one period."""
    low = np.abs(np.fft.fftfreq(n) * n) <= 1
    return np.fft.ifft(low[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0).real.astype(np.float32)


def tempered(q: Array, power: Array | None, trained: int) -> Array:
    """Queries q (B, N, heads, size) times (log N / log trained)^power, power (B,), for N tokens and `trained` ones in
    training.

    Power 1/2 keeps the entropy of attention a fixed share of log N for Gaussian logits (Jin et al. 2023,
    arXiv:2306.08645); 1 is Su's entropy invariance.  The factor is 1 for a single token, where the logarithm is 0.
    """
    n = q.shape[1]
    if power is None or n == trained or min(n, trained) == 1:
        return q
    factor = jnp.float32(math.log(n) / math.log(trained)) ** power
    return (q * factor[:, None, None, None]).astype(q.dtype)
