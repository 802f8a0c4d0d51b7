"""What training-free levers multiply inside a network, told through Cond: skips, features and attention.

Each multiplier has a row an image, and is the identity, bit for bit, at its neutral value.
"""

import math
from functools import cache

import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.errors import UsageError

SKIPS = "skip", "low", "backbone"  # fields of Cond that are (B, levels)


def refuse(cond, lacks, *names):
    """UsageError if cond tells one of these fields to a network that lacks what it multiplies."""
    for name in names:
        if getattr(cond, name) is not None:
            raise UsageError(f"{lacks}: leave cond.{name} None")


def check_columns(cond, levels):
    """UsageError unless the multipliers of skips and features are (B, levels)."""
    for name in SKIPS:
        told = getattr(cond, name)
        if told is not None and jnp.shape(told)[1:] != (levels,):
            raise UsageError(
                f"cond.{name} has shape {jnp.shape(told)}: it needs one column for each of {levels} levels"
            )


def joined(h, skip, cond, column):
    """Features of a decoder (B, H, W, C) and a skip (B, H, W, D), as this column of cond says -> (B, H, W, C + D).

    The first half of the channels of h times backbone, the lowest frequencies of the skip times low (FreeU, Si et al.
    2023, arXiv:2309.11497), all of it times skip (Ma et al. 2024, arXiv:2402.15170).
    """

    def factor(multipliers):
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


def lowpass(x):
    """The part of x (B, H, W, C), float32, that is of frequencies |k| <= 1 on both axes, the mean among them.

    A symmetric box.  FreeU's code takes the bins -1 and 0 alone and drops the imaginary part that this leaves: of
    waves (0, 1), (1, 0) and (1, 1) half passes there, of (1, -1) nothing.
    """
    rows, columns = (_projection(n) for n in x.shape[1:3])
    x = jnp.einsum("ij,bjwc->biwc", rows, x, precision="highest")
    return jnp.einsum("ij,bhjc->bhic", columns, x, precision="highest")


@cache
def _projection(n):
    """(n, n) float32: n samples to the part of them that is of at most one wave."""
    low = np.abs(np.fft.fftfreq(n) * n) <= 1
    return np.fft.ifft(low[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0).real.astype(np.float32)


def tempered(q, power, trained):
    """Queries q (B, N, heads, size) times (log N / log trained)^power, power (B,), for N tokens in place of `trained`.

    Power 1/2 keeps the entropy of attention a fixed share of log N where logits are Gaussian (Jin et al. 2023,
    arXiv:2306.08645); 1 is Su's entropy invariance.  One token has no logarithm to go by: no factor there.
    """
    n = q.shape[1]
    if power is None or n == trained or min(n, trained) == 1:
        return q
    factor = jnp.float32(math.log(n) / math.log(trained)) ** power
    return (q * factor[:, None, None, None]).astype(q.dtype)
