"""SHA-256 of files, bytes, and trees of arrays: the same in every process, and for equal contents only."""

import hashlib
import re

import numpy as np


def sha256(*parts: bytes) -> str:
    """Of bytes, one part after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def file_sha256(path) -> str:
    """Of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts) -> str:
    """Of trees of arrays, numbers and texts, their structure included."""
    import jax  # reading data takes no JAX

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
                found.update(array)
    return found.hexdigest()
