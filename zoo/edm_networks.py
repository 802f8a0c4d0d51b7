"""The networks of NVlabs/edm as arguments of UNet2D, and their name maps.

The facts are those of its training/networks.py at 008a4e5.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from fewstep.errors import UsageError
from fewstep.zoo.layout import Arrays, Leaf, conv, dense, halves, linear, norm, qkv, same, under
from fewstep.zoo.unet2d import BlockNames, Leaves, head

SONG, DHARIWAL = "SongUNet", "DhariwalUNet"
# Arguments of the networks that the file leaves out.
DEFAULTS: dict[str, dict[str, Any]] = {
    SONG: {
        "model_channels": 128, "channel_mult": [1, 2, 2, 2], "channel_mult_emb": 4, "num_blocks": 4,
        "attn_resolutions": [16], "dropout": 0.1, "embedding_type": "positional", "channel_mult_noise": 1,
        "encoder_type": "standard", "decoder_type": "standard", "resample_filter": [1, 1],
    },
    DHARIWAL: {
        "model_channels": 192, "channel_mult": [1, 2, 3, 4], "channel_mult_emb": 4, "num_blocks": 3,
        "attn_resolutions": [32, 16, 8], "dropout": 0.1,
    },
}  # fmt: skip
HEAD = 64  # channels of a head of a DhariwalUNet; blocks with fewer have no attention


def arguments(kind: str, known: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Those of UNet2D for a network of this class with these arguments; UsageError for forms that it cannot have."""
    return (_song if kind == SONG else _dhariwal)(known, side)


def _common(known: Mapping[str, Any]) -> dict[str, Any]:
    width = known["model_channels"]
    if not 0 < len(known["channel_mult"]) <= 16 or not 0 < known["num_blocks"] <= 64:
        raise UsageError(
            f"the file has {len(known['channel_mult'])} levels of {known['num_blocks']} blocks each: at "
            f"most 16 of 64 are opened"
        )
    return {
        "channels": tuple(width * factor for factor in known["channel_mult"]),
        "blocks": known["num_blocks"],
        "groups": 32,
        "group_size": 4,
        "resampling": "block",
        "embedding": width * known["channel_mult_emb"],
        "null": False,
        "dropout": float(known["dropout"]),
    }


def _song(known: Mapping[str, Any], side: int) -> dict[str, Any]:
    """The arguments of UNet2D for a SongUNet: DDPM++ or NCSN++."""
    forms = {"standard": False, "residual": True}
    filters = {(1, 1): "box", (1, 3, 3, 1): "blur"}
    encoder, decoder, taps = known["encoder_type"], known["decoder_type"], tuple(known["resample_filter"])
    blurs = filters.get(taps) == "blur"
    if encoder not in forms or decoder != "standard" or taps not in filters or (forms[encoder] and not blurs):
        raise UsageError(
            f"the file has a SongUNet with a {encoder} encoder, a {decoder} decoder and the filter {list(taps)}: "
            f"DDPM++ (standard, standard, 1 1 or 1 3 3 1) and NCSN++ (residual, standard, 1 3 3 1) are opened"
        )
    fourier = known["embedding_type"] == "fourier"
    return _common(known) | {
        "attention": _levels(known, side),
        "stem": known["model_channels"],
        "decoder_attention": "last",
        "eps": 1e-6,
        "filter": filters[taps],
        "residual": 0.5**0.5,
        "project": True,
        "aux": forms[encoder],
        "waves": known["model_channels"] * known["channel_mult_noise"],
        "order": "fourier" if fourier else "sin_cos",
        "shift": 0 if fourier else 1,
        "label": "before",
    }


def _dhariwal(known: Mapping[str, Any], side: int) -> dict[str, Any]:
    """The arguments of UNet2D for a DhariwalUNet."""
    widths = [known["model_channels"] * factor for factor in known["channel_mult"]]
    wide = [side >> level for level, width in enumerate(widths) if width >= HEAD]
    return _common(known) | {
        "attention": tuple(size for size in _levels(known, side) if size in wide),
        "middle_attention": widths[-1] >= HEAD,
        "head_size": HEAD,
        "eps": 1e-5,
        "modulation": "scale_shift",
        "waves": known["model_channels"],
        "order": "cos_sin",
        "label": "after",
    }


def _levels(known, side):
    sides = [side >> level for level in range(len(known["channel_mult"]))]
    return tuple(size for size in sides if size in known["attn_resolutions"])


def _attention(name: str, arrays: Arrays, kind: str) -> Leaves:
    """That of a block, whose layers are among its own."""
    channels = arrays[f"{name}.norm2.weight"].size if f"{name}.norm2.weight" in arrays else 0
    heads = 1 if kind == SONG else max(1, channels // HEAD)
    return (
        under(("norm",), norm(f"{name}.norm2"))
        | under(("mix", "qkv"), dense(f"{name}.qkv", qkv, heads=heads, order="hs3"))
        | under(("mix", "out"), dense(f"{name}.proj"))
    )


def leaves(kind: str, known: Mapping[str, Any], arrays: Arrays, side: int, channels: int) -> Leaves:
    """The name map of UNet2D."""
    attention = partial(_attention, arrays=arrays, kind=kind)
    rows = linear if kind == SONG else halves
    names = BlockNames("norm0", "conv0", "affine", "norm1", "conv1", "skip", attention, rows)
    blocks, levels = known["num_blocks"], len(known["channel_mult"])
    sides = [f"{side >> level}x{side >> level}" for level in range(levels)]
    last = f"dec.{sides[0]}_aux" if kind == SONG else "out"
    found = under(("stem",), dense(f"model.enc.{sides[0]}_conv", conv)) | under(("norm",), norm(f"model.{last}_norm"))
    found |= head(f"model.{last}_conv", channels)
    for ours, theirs in (("first", "map_layer0"), ("second", "map_layer1")):
        found |= under(("conditioning", ours), dense(f"model.{theirs}"))
    found["conditioning", "label", "embedding"] = Leaf(("model.map_label.weight",), linear)
    found["conditioning", "bias"] = Leaf(("model.map_label.bias",), same)
    found["conditioning", "frequencies"] = Leaf(("model.map_noise.freqs",), same)
    for i in range(2):
        name = f"model.dec.{sides[-1]}_in{i}"
        found |= under(("middle", i), names.leaves(name, name))
    for level, size in enumerate(sides):
        for part, coder, count in (("down", "enc", blocks), ("up", "dec", blocks + 1)):
            for i in range(count):
                name = f"model.{coder}.{size}_block{i}"
                found |= under((part, level, i), names.leaves(name, name))
        found |= under(("grow", level), names.leaves(f"model.dec.{size}_up"))
        found |= under(("shrink", level - 1), names.leaves(f"model.enc.{size}_down"))
        found |= under(("aux", level - 1, "conv"), dense(f"model.enc.{size}_aux_residual", conv))
    return found
