"""SHA-256 of files, bytes and pytrees: equal in every process, and only for equal contents."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fewstep.train.utils.files import open_file


def sha256(*parts: bytes | np.ndarray) -> str:
    """SHA-256 of the concatenated parts; arrays must be contiguous."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)  # pyright: ignore[reportArgumentType]
    return found.hexdigest()


def arrays_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays with their names, types and shapes, in whatever order and layout."""
    parts = []
    for name in sorted(arrays):
        array = arrays[name]
        parts += [f"{name} {array.dtype.str} {array.shape} ".encode(), np.ravel(array).view(np.uint8)]
    return sha256(*parts)


def file_sha256(path: Any) -> str:
    """SHA-256 of a file (pathlib.Path or epath.Path), read in chunks."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: Any) -> str:
    """SHA-256 of pytrees of arrays, numbers and strings, including their structure."""
    import jax  # imported late: reading data does not need JAX

    from fewstep.samplers.loop import fetched

    found = hashlib.sha256()
    for part in parts:
        leaves, tree = jax.tree.flatten(part)
        found.update(re.sub(r" at 0x[0-9a-f]+", "", str(tree)).encode())
        for leaf in leaves:
            if isinstance(leaf, str):
                found.update(leaf.encode())
            else:
                array = np.ascontiguousarray(fetched(leaf) if isinstance(leaf, jax.Array) else leaf)
                found.update(f"{array.dtype.str}{array.shape}".encode())
                found.update(array)  # pyright: ignore[reportArgumentType]
    return found.hexdigest()
