"""What the arrays of a UNetModel of guided-diffusion show of it: its names count blocks, its shapes their channels."""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from fewstep.errors import UsageError
from fewstep.zoo.layout import Arrays

STEM, TIME = "input_blocks.0.0.weight", "time_embed.0.weight"
UP = re.compile(r"output_blocks\.\d+\.[12]\.(in_layers\.0|conv)\.weight")
BLOCK = re.compile(r"output_blocks\.(\d{1,4})\.0\.")


@dataclass(frozen=True)
class Shapes:
    """The levels of a network, their channels and whether they attend, blocks in each, classes, input and output
    channels, width of the waves of time, and the forms of modulation and resampling (UNet2D)."""

    channels: tuple[int, ...]
    blocks: int
    attends: tuple[bool, ...]
    waves: int
    classes: int = 0
    colours: int = 3
    outputs: int = 6
    modulation: Literal["add", "scale_shift"] = "scale_shift"
    resampling: Literal["conv", "block"] = "block"

    def of(self, **changes: Any) -> "Shapes":
        """The same with changes."""
        return replace(self, **changes)

    def difference(self, other: "Shapes") -> str | None:
        """The first thing in which the two differ, in words; None if they are the same."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours != theirs:
                return f"{field.name} {ours}, not {theirs}"
        return None


def is_guided(arrays: Arrays) -> bool:
    """Whether these are the arrays of a UNetModel, or of one of its relatives."""
    return STEM in arrays and TIME in arrays


def shapes(arrays: Arrays) -> Shapes:
    """What they show; UsageError for a classifier, or if they are of no whole UNetModel."""
    if "out.2.weight" not in arrays or "output_blocks.0.0.in_layers.0.weight" not in arrays:
        raise UsageError("these weights have no decoder: they are of a classifier, and models of images are opened")
    ups = {name for name in arrays if UP.fullmatch(name)}
    levels = 1 + len(ups)
    count = 1 + max(int(found[1]) for name in arrays if (found := BLOCK.match(name)))
    blocks = count // levels - 1
    firsts = [f"input_blocks.{1 + level * (blocks + 1)}" for level in range(levels)]
    try:
        channels = tuple(arrays[f"{first}.0.out_layers.3.weight"].shape[0] for first in firsts)
        return Shapes(
            channels=channels,
            blocks=blocks,
            attends=tuple(f"{first}.1.qkv.weight" in arrays for first in firsts),
            waves=arrays[TIME].shape[1],
            classes=arrays["label_emb.weight"].shape[0] if "label_emb.weight" in arrays else 0,
            colours=arrays[STEM].shape[1],
            outputs=arrays["out.2.weight"].shape[0],
            modulation="add" if arrays[f"{firsts[0]}.0.emb_layers.1.weight"].shape[0] == channels[0] else "scale_shift",
            resampling="conv" if any(name.endswith(".conv.weight") for name in ups) else "block",
        )
    except (KeyError, IndexError) as error:
        raise UsageError(f"these weights are of no UNetModel that is opened: {error} is missing") from None
