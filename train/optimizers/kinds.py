"""Which kind of parameter is which, by the names that Flax gives them."""

from typing import Any

import jax

GAIN, BIAS, EMBEDDING, KERNEL = "gain", "bias", "embedding", "kernel"
GAINS = ("scale", "gain", "gamma")


def name_of(path: tuple) -> str:
    """The name of a leaf: "net.stem.kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def kind(path: tuple, a: Any) -> str:
    """GAIN or BIAS of an array with less than two axes, EMBEDDING or KERNEL of others (..., inputs, outputs)."""
    name = name_of(path).rpartition(".")[2]
    if a.ndim < 2:
        return GAIN if name in GAINS else BIAS
    return EMBEDDING if "embed" in name else KERNEL


def inner_axes(path: tuple, a: Any) -> tuple[int, ...]:
    """The axes of a group of elements with one scale: a row of an embedding, the inputs of an output of a kernel, all
    of a bias or gain."""
    return {EMBEDDING: (a.ndim - 1,), KERNEL: tuple(range(a.ndim - 1))}.get(kind(path, a), tuple(range(a.ndim)))
