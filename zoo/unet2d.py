"""The name map of UNet2D's residual blocks and head, which sources fill with their own names."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fewstep.zoo.layout import Leaf, Path, conv, conv_rows, dense, norm, rows, under

Leaves = dict[Path, Leaf]


@dataclass(frozen=True)
class BlockNames:
    """What a source calls the parts of a residual block.

    attention: the leaves of an attention, ("norm", ...) and ("mix", ...), by its name.  modulation_rows: the layout of
    the layer that adds to or modulates the second norm: `linear`, or `halves` for scales, then shifts.
    """

    norm: str
    conv: str
    modulation: str
    last_norm: str
    last: str
    shortcut: str
    attention: Callable[[str], Leaves]
    modulation_rows: Callable[..., Any]

    def leaves(self, name: str, attention: str = "") -> Leaves:
        """Those of the block `name`, also of parts that it may not have; attention: the name of the one after it."""
        parts = {
            ("norm",): norm(f"{name}.{self.norm}"),
            ("conv",): dense(f"{name}.{self.conv}", conv),
            ("modulation", "dense"): dense(f"{name}.{self.modulation}", self.modulation_rows),
            ("last_norm",): norm(f"{name}.{self.last_norm}"),
            ("last",): dense(f"{name}.{self.last}", conv),
            ("shortcut",): dense(f"{name}.{self.shortcut}"),
            ("attention",): self.attention(attention) if attention else {},
        }
        return {path: leaf for part, inner in parts.items() for path, leaf in under(part, inner).items()}


def head(name: str, channels: int) -> Leaves:
    """Those of the last convolution, whose channels from `channels` on, if there are any, predict the variance."""
    found: Leaves = {}
    for part, first in (("head", 0), ("variance", channels)):
        found[part, "kernel"] = Leaf((f"{name}.weight",), partial(conv_rows, first=first, count=channels))
        found[part, "bias"] = Leaf((f"{name}.bias",), partial(rows, first=first, count=channels))
    return found
