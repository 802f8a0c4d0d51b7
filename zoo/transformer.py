"""The name map of DiT, which sources fill with their own names, and what all published ones have in common."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fewstep.diffusion.networks.positions import places, sincos
from fewstep.errors import UsageError, lookup
from fewstep.zoo.layout import Arrays, Leaf, Path, dense, interleaved, joined_qkv, patches, pixels, qkv, same, under

Leaves = dict[Path, Leaf]
PUBLISHED = {"waves": 256, "columns_first": True, "joint": True}  # of DiT
LATENTS = {"vae": "stabilityai/sd-vae-ft-mse", "scaling_factor": 0.18215}  # x0 is a latent of it, times the factor
BLOCK = (1, 0, 2, 4, 3, 5)  # shift, scale, gate of the attention, then of the wide layer; ours have the scale first
LAST = (1, 0)


class Size(NamedTuple):
    """The arguments of DiT that a preset stands for; the number of heads is in no shape."""

    width: int
    depth: int
    heads: int
    patch: int

    @property
    def seen(self) -> tuple[int, int, int]:
        """What shapes show: width, depth, patch."""
        return self.width, self.depth, self.patch


@dataclass(frozen=True)
class BlockNames:
    """What a source calls the layers of a block; qkv: of one layer, or of three."""

    qkv: str | tuple[str, str, str]
    out: str
    wide: str
    narrow: str
    modulation: str


@dataclass(frozen=True)
class Names:
    """What a source calls the layers of a DiT, and its table of classes.

    time, jump: the two layers of each; jump None: none.  block: the names in block i.  dense: the kernel and bias of a
    layer by its name and layout, as in layout.py.
    """

    stem: str
    time: tuple[str, str]
    table: str
    block: Callable[[int], BlockNames]
    modulation: str
    head: str
    jump: tuple[str, str] | None = None
    dense: Callable[..., Any] = dense

    def leaves(self, depth: int, heads: int, channels: int, outputs: int) -> Leaves:
        """Those of a network whose last layer has `outputs` channels a pixel: the `channels` of the image, and, if
        there are more, as many of the variance."""
        found = under(("stem",), self.dense(self.stem, patches))
        for at, names in (("conditioning",), self.time), (("conditioning", "jump"), self.jump or ()):
            for part, name in zip(("first", "second"), names, strict=False):
                found |= under((*at, part), self.dense(name))
        found["conditioning", "label", "embedding"] = Leaf((self.table,), same)
        for i in range(depth):
            found |= under(("blocks", i), self._block(self.block(i), heads))
        found |= under(("modulation", "dense"), self.dense(self.modulation, interleaved, order=LAST))
        for part, first in (("head", 0), ("variance", channels)):
            if first < outputs:
                found |= under((part,), self.dense(self.head, pixels, outputs=outputs, first=first, count=channels))
        return found

    def _block(self, names: BlockNames, heads: int) -> Leaves:
        parts = {
            ("attention", "out"): self.dense(names.out),
            ("wide",): self.dense(names.wide),
            ("out",): self.dense(names.narrow),
            ("modulation", "dense"): self.dense(names.modulation, interleaved, order=BLOCK),
        }
        if isinstance(names.qkv, str):
            parts["attention", "qkv"] = self.dense(names.qkv, qkv, heads=heads, order="3hs")
        else:
            join = partial(joined_qkv, heads=heads)
            for ours, theirs in (("kernel", "weight"), ("bias", "bias")):
                rows = tuple(f"{name}.{theirs}" for name in names.qkv)
                parts["attention", "qkv", ours] = {(): Leaf(rows, join)}
        return {path: leaf for part, inner in parts.items() for path, leaf in under(part, inner).items()}


def tokens_of_a_side(positions: np.ndarray, where: object) -> int:
    """The number of tokens on a side of the image whose positions (1, N, width) are in a file.

    UsageError unless they are the sines and cosines that DiT adds, to 1e-5.
    """
    count, width = positions.shape[1:] if positions.ndim == 3 else (0, 0)
    side = math.isqrt(count)
    if not count or width % 4 or side**2 != count or len(positions) != 1:
        raise UsageError(f"{where}: positions of shape {positions.shape} are not those of the tokens of a square image")
    expected = sincos(places((side, side), (side, side))[:, ::-1], width)
    worst = float(np.abs(positions.reshape(count, width) - expected).max())
    if not worst <= 1e-5:
        raise UsageError(f"{where}: its positions differ by {worst:.2g} from DiT's sines: learned ones are not opened")
    return side


def depth(arrays: Arrays, block: str) -> int:
    """The number of blocks, whose arrays have names that begin with `block` and a number."""
    numbers = (name.removeprefix(block).partition(".")[0] for name in arrays if name.startswith(block))
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def has_axes(arrays: Arrays, axes: Mapping[str, int]) -> bool:
    """Whether there are arrays of these names, with so many axes."""
    return all(name in arrays and arrays[name].ndim == count for name, count in axes.items())


def checked_size(
    path: object, kind: str, name: str | None, presets: Mapping[str, Size], width: int, depth: int, patch: int
) -> Size:
    """The size that the preset `name` stands for; UsageError without one, and unless the weights have its numbers.

    kind: what the weights are of, for messages.
    """
    if name is None:
        fit = [preset for preset, size in presets.items() if size.seen == (width, depth, patch)]
        raise UsageError(
            f"{path} is of {kind}, and does not say which: add --as NAME; of its shapes "
            f"{'are ' + ', '.join(fit) if fit else 'is none of ' + ', '.join(presets)}"
        )
    size = lookup("preset", name, presets)
    if size.seen != (width, depth, patch):
        raise UsageError(
            f"{path} is not {name}: it has {depth} blocks of width {width} and patches of {patch}, and {name} has "
            f"{size.depth} of {size.width} and of {size.patch}"
        )
    return size
