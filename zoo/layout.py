"""Where each array of ours comes from in a foreign file, and back.

A `Leaf` names foreign arrays and a layout, a function of them that only moves elements: transposes, joins, cuts,
reorders.  Export needs no second map: the elements of the foreign arrays are numbered, sent through the layout, and
ours are scattered back by these numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from fewstep.errors import UsageError

Path = tuple[str | int, ...]  # of a parameter of ours: ("down", 0, 1, "conv", "kernel")
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Leaf:
    """The foreign arrays that one of ours is made of, and how.

    copies: of a single array, the others that have the same contents.
    """

    names: tuple[str, ...]
    layout: Callable[..., np.ndarray]
    copies: tuple[str, ...] = ()

    def of(self, arrays: Arrays) -> np.ndarray:
        """Ours, from the foreign arrays by name."""
        return self.layout(*(arrays[name] for name in self.names))


Leaves = Mapping[Path, Leaf]


def same(a: np.ndarray) -> np.ndarray:
    """As it is: biases, gains, tables."""
    return a


def linear(a: np.ndarray) -> np.ndarray:
    """(out, in), or a convolution of one pixel (out, in, 1[, 1]) -> (in, out)."""
    return a.reshape(a.shape[:2]).T


def conv(a: np.ndarray) -> np.ndarray:
    """(out, in, k, k) -> (k, k, in, out)."""
    return a.transpose(2, 3, 1, 0)


def rows(a: np.ndarray, first: int, count: int) -> np.ndarray:
    """`count` entries of the first axis, from `first` on."""
    return a[first : first + count]


def conv_rows(a: np.ndarray, first: int, count: int) -> np.ndarray:
    """`conv` of `count` output channels, from `first` on."""
    return conv(rows(a, first, count))


def patches(a: np.ndarray) -> np.ndarray:
    """A convolution of a patch (out, in, p, p) -> a layer (p p in, out) on the pixels of a patch, channels last."""
    return a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0])


def pixels(a: np.ndarray, outputs: int, first: int, count: int) -> np.ndarray:
    """Rows (p p outputs, ...) of the pixels of a patch, with `outputs` channels each -> the rows of `count` channels
    from `first` on, a matrix (rows, in) transposed to (in, rows)."""
    rows = a.reshape(-1, outputs, *a.shape[1:])[:, first : first + count]
    return np.moveaxis(rows.reshape(-1, *a.shape[1:]), 0, -1)


def halves(a: np.ndarray) -> np.ndarray:
    """Rows (2 n, ...), first those of all scales, then of all shifts -> in turn; a vector or a matrix (out, in), which
    is transposed."""
    return interleaved(a, (0, 1))


def interleaved(a: np.ndarray, order: Iterable[int]) -> np.ndarray:
    """Rows (m n, ...) of m vectors one after another -> in turn, in this order of the vectors; a matrix (out, in) is
    transposed to (in, out)."""
    order = list(order)
    vectors = a.reshape(len(order), -1, *a.shape[1:])[order]
    return np.moveaxis(vectors.swapaxes(0, 1).reshape(a.shape), 0, -1)


def qkv(a: np.ndarray, heads: int, order: str) -> np.ndarray:
    """Rows of queries, keys and values -> (heads, 3, size) in ours, a matrix transposed.

    order: how the rows lie, "h3s" (heads, 3, size), "3hs" or "hs3".
    """
    a = a.reshape(a.shape[:2])  # also a convolution of one pixel
    sizes = {"h": heads, "3": 3, "s": a.shape[0] // (3 * heads)}
    rows = a.reshape(*(sizes[axis] for axis in order), *a.shape[1:])
    rows = np.moveaxis(rows, [order.index(axis) for axis in "h3s"], [0, 1, 2])
    return np.moveaxis(rows.reshape(a.shape), 0, -1)


def joined_qkv(*parts: np.ndarray, heads: int) -> np.ndarray:
    """Three layers (out, in) or biases (out,) of queries, keys and values -> (heads, 3, size), matrices transposed."""
    return qkv(np.concatenate([part.reshape(part.shape[0], -1).squeeze() for part in parts]), heads, "3hs")


def of_flax(a: np.ndarray, layout: str, **options: Any) -> np.ndarray:
    """A kernel of flax, (in, out) or (p, p, in, out), by a layout for torch's, (out, in) or (out, in, p, p)."""
    return LAYOUTS[layout](a.T if a.ndim < 4 else a.transpose(3, 2, 0, 1), **options)


LAYOUTS = {
    layout.__name__: layout
    for layout in (same, linear, conv, rows, conv_rows, patches, pixels, halves, interleaved, qkv, joined_qkv, of_flax)
}
"""By the names that `record.py` writes: a layout has no other arguments than arrays, numbers, texts and their lists."""


def dense(name: str, layout: Callable[..., np.ndarray] = linear, **options: Any) -> dict[Path, Leaf]:
    """The kernel and bias of a layer or convolution; options: those of the layout of both."""
    kernel = partial(layout, **options) if options else layout
    bias = same if layout in (linear, conv, patches) else kernel
    return {("kernel",): Leaf((f"{name}.weight",), kernel), ("bias",): Leaf((f"{name}.bias",), bias)}


def norm(name: str) -> dict[Path, Leaf]:
    """The gain and offset of a norm."""
    return {("scale",): Leaf((f"{name}.weight",), same), ("shift",): Leaf((f"{name}.bias",), same)}


def under(path: Path, leaves: Leaves) -> dict[Path, Leaf]:
    """The same leaves, further in."""
    return {(*path, *inner): leaf for inner, leaf in leaves.items()}


def imported(
    leaves: Leaves, arrays: Arrays, shapes: Any, show: Callable[[int], None] = lambda done: None
) -> dict[Any, Any]:
    """Our parameters, of the tree and shapes of `shapes`, in float32 on the device; each array is read once.

    show: gets the number of parameters that are done.

    Raises UsageError for arrays that are missing or of another shape, and for parameters without a leaf.
    """
    made: dict[Any, Any] = {}
    for done, (path, wanted) in enumerate(paths(shapes), 1):
        if path not in leaves:
            raise UsageError(f"the network has a parameter {'.'.join(map(str, path))}, which these weights do not have")
        leaf = leaves[path]
        if missing := [name for name in (*leaf.names, *leaf.copies) if name not in arrays]:
            raise UsageError(
                f"the weights have no array {missing[0]}: they are of another network than their config says"
            )
        if other := [name for name in leaf.copies if not np.array_equal(arrays[name], arrays[leaf.names[0]])]:
            raise UsageError(f"{other[0]} is not equal to {leaf.names[0]}, and this network has one array for both")
        try:
            found = leaf.of(arrays)
        except (ValueError, IndexError):  # of the layout, for arrays of another number of dimensions
            found = None
        if found is None or found.shape != wanted.shape:
            theirs = ", ".join(f"{name} {arrays[name].shape}" for name in leaf.names)
            gives = "does not give" if found is None else f"gives {found.shape} for"
            raise UsageError(
                f"{theirs} {gives} {'.'.join(map(str, path))}, and the network has {wanted.shape}: the weights are of "
                f"another network than their config says"
            )
        if not np.isfinite(found).all():
            raise UsageError(f"{leaf.names[0]} holds numbers that are not finite: these weights draw nothing")
        at = made
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = jax.device_put(np.ascontiguousarray(found, np.float32))
        show(done)
    return made


def exported(leaves: Leaves, params: Any, kept: Arrays) -> dict[str, np.ndarray]:
    """The foreign arrays, from our parameters: copies of `kept`, which has all foreign names with their shapes and
    types, with our values where they differ in float32."""
    found = {name: np.array(array) for name, array in kept.items()}
    for path, value in paths(params):
        leaf = leaves[path]
        sizes = [kept[name].size for name in leaf.names]
        starts = np.cumsum([0, *sizes])
        numbered = {
            name: np.arange(start, start + size).reshape(kept[name].shape)
            for name, start, size in zip(leaf.names, starts, sizes, strict=False)
        }
        numbers, values = leaf.of(numbered).ravel(), np.asarray(value).ravel()
        for name, start, size in zip(leaf.names, starts, sizes, strict=False):
            here = (numbers >= start) & (numbers < start + size)
            into, at = found[name].reshape(-1), numbers[here] - start
            changed = into[at].astype(np.float32) != values[here]  # float64 of which ours is the rounding stays
            into[at[changed]] = values[here][changed].astype(into.dtype)
        for name in leaf.copies:
            found[name][...] = found[leaf.names[0]]
    return found


def paths(tree: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, leaf) of nested dicts."""
    for key, value in tree.items():
        yield from paths(value, (*at, key)) if isinstance(value, Mapping) else [((*at, key), value)]
