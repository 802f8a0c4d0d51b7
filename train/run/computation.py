"""What a denoiser computes, as a digest: of its program, not of its Python code."""

from collections.abc import Sequence
from importlib.metadata import version
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


def code(den: Any, shape: Sequence[int]) -> dict[str, str]:
    """`computation` of a network that was given in Python, with what else its text depends on."""
    device = f"{jax.device_count()} {jax.devices()[0].device_kind}"
    return {"jax": version("jax"), "devices": device, "program": computation(den, shape, "a function outside JAX")}


def is_other(code: dict[str, str] | None, recorded: dict[str, str] | None) -> bool:
    """Whether the code is known to be another one than when it was recorded."""
    if not code or not recorded:
        return False
    comparable = all(recorded.get(name) == code[name] for name in ("jax", "devices"))
    return comparable and recorded.get("program") != code["program"]


@jax.jit
def _predict(den, x, t, s, cond):
    return den(x, t, s, cond)
