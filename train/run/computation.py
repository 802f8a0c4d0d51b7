"""What a denoiser computes, as a digest: of its program, not of its Python code."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fewstep.diffusion.denoiser import JUMP, Cond
from fewstep.train.utils.hashing import sha256


def computation(den: Any, shape: Sequence[int], unknown: str) -> str:
    """A digest of what a denoiser computes of images of a shape, apart from its parameters: of its compiled program
    with all constants, however its Python code is named.  A program that calls Python again, as NumPy and PyTorch
    functions do, is known only as `unknown`."""
    count, t = jax.device_count(), jax.ShapeDtypeStruct((), np.float32)
    images = jax.ShapeDtypeStruct((count, *shape), np.float32)
    label: Any = jax.ShapeDtypeStruct((count,), np.int32) if den.classes else None
    den = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf)), den)
    traced = _predict.trace(den, images, t, t if JUMP in den.capabilities else None, Cond(label))
    host = unknown if "callback" in str(traced.jaxpr) else ""
    return sha256(traced.lower().as_text().encode(), host.encode())


@jax.jit
def _predict(den, x, t, s, cond):
    return den(x, t, s, cond)
