"""Pickles of NVlabs/edm (Karras et al. 2022, arXiv:2206.00364), which hold the classes and arguments of their networks.

The facts are those of its training/networks.py and README.md at 008a4e5.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import EPS, VE, VP, Discrete, edm
from fewstep.diffusion.foreign import Clocked, Indexed
from fewstep.diffusion.networks import UNet2D
from fewstep.errors import UsageError, lookup
from fewstep.zoo.files import Persistent, flat, read
from fewstep.zoo.found import Found
from fewstep.zoo.layout import Arrays, Leaf, conv, dense, halves, linear, norm, qkv, same, under
from fewstep.zoo.unet2d import BlockNames, Leaves, head

PRESETS: dict[str, Any] = {}  # its files say what they are
AVERAGE = "ema"
SONG, DHARIWAL = "SongUNet", "DhariwalUNet"
LICENCES = {"Attribution-NonCommercial-ShareAlike 4.0": "CC BY-NC-SA 4.0, says the source in the file"}
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


def recognises(path: File) -> bool:
    """Whether it is a file with one of EDM's preconditioned networks in it."""
    return path.suffix in (".pkl", ".pickle", ".pt") and path.is_file() and bool(_networks(read(path)))


def find(path: File, name: str | None = None, weights: str | None = None) -> Found:
    """The model in the file, by default the average of its weights.

    weights: another network in it, such as "net".  Raises UsageError for what this network or our processes cannot be.
    """
    networks = _networks(read(path))
    chosen = weights or (AVERAGE if AVERAGE in networks else min(networks, default=AVERAGE))
    outer = lookup(f"network of {path}", chosen, networks)
    modules = outer.state.get("_modules")
    inner = modules.get("model") if isinstance(modules, dict) else None
    if not isinstance(inner, Persistent) or inner.class_name not in DEFAULTS:
        raise UsageError(f"{path} has a {_name(inner)} within its {outer.class_name}: {SONG} and {DHARIWAL} are opened")
    known = DEFAULTS[inner.class_name] | inner.init_kwargs
    try:
        side, channels, classes = (int(known[key]) for key in ("img_resolution", "in_channels", "label_dim"))
        process, prediction = PRECONDITIONS[outer.class_name](outer.state)
        arrays = flat(outer)
        arguments = (_song if inner.class_name == SONG else _dhariwal)(known, side)
        leaves = _leaves(inner.class_name, known, arrays, side, channels)
    except UsageError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} is damaged: its {outer.class_name} lacks an argument ({error!r})") from None
    kept = tuple(key for key in arrays if key.endswith(".resample_filter"))
    return Found(
        kind=f"{outer.class_name} of a {inner.class_name} of NVlabs/edm, its {chosen}",
        network=partial(UNet2D, **arguments),
        process=process,
        prediction=prediction,
        shape=(side, side, channels),
        arrays=arrays,
        leaves=leaves,
        files=(str(path),),
        licence=next((words for sign, words in LICENCES.items() if sign in (outer.source or "")), "unknown"),
        classes=classes,
        sampled=_sampled(process, side, classes),
        options=_options(process, side, classes),
        # Filters are those of the arguments; augmentations are for training; u are the noise levels of iDDPMPrecond.
        unused=(*kept, "model.map_augment.", "u"),
    )


def _networks(value: Any) -> dict[str, Persistent]:
    """The preconditioned networks in what a file holds, by their names there."""
    values = value if isinstance(value, dict) else {AVERAGE: value}
    return {
        str(name): one
        for name, one in values.items()
        if isinstance(one, Persistent) and one.class_name in PRECONDITIONS
    }


def _name(value):
    return value.class_name if isinstance(value, Persistent) else type(value).__name__


def _edm(state):
    process = VE(max(0.002, state["sigma_min"]), min(80.0, state["sigma_max"]))
    return process, edm(state["sigma_data"])


def _vp(state):
    """The network is told 999 t, with M = 1000."""
    first = state["beta_min"]
    process = VP(first, first + state["beta_d"], state["epsilon_t"])
    return process, Clocked(EPS, scale=float(state["M"] - 1))


def _ve(state):
    """The network predicts -eps, and is told log(sigma / 2)."""
    process = VE(state["sigma_min"], state["sigma_max"])
    return process, Clocked(EPS, of="log_noise", offset=float(np.log(0.5)), negated=True)


def _iddpm(state):
    """Its levels j = M - n are those of the cosine schedule, if C_1 and C_2 are the published ones."""
    count, least, shift = state["M"], state["C_1"], state["C_2"]
    published = Discrete("cosine", count)
    if (least, shift) == (0.001, 0.008):
        return published, Indexed(EPS)
    bar = np.sin(np.pi / 2 * np.arange(count, -1, -1) / (count * (1 + shift))) ** 2
    return Discrete(tuple((1 - np.maximum(bar[1:] / bar[:-1], least)).tolist())), Indexed(EPS)


PRECONDITIONS = {"EDMPrecond": _edm, "VPPrecond": _vp, "VEPrecond": _ve, "iDDPMPrecond": _iddpm}


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


def _leaves(kind: str, known: Mapping[str, Any], arrays: Arrays, side: int, channels: int) -> Leaves:
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


def _steps(side, classes):
    """The steps of the README: of CIFAR-10, ImageNet (with added noise), FFHQ and AFHQ."""
    return 18 if side <= 32 else 256 if classes else 40


def _sampled(process, side, classes):
    steps = _steps(side, classes)
    noise = {"S_churn": 40, "S_min": 0.05, "S_max": 50, "S_noise": 1.003} if steps == 256 else {"S_churn": 0}
    return {"sampler": "edm_sampler", "steps": steps, "rho": 7, "sigma_min": 0.002, "sigma_max": 80} | noise


def _options(process, side, classes):
    """The words of `fewstep sample`: EDM's algorithm 2 under any process, between sigma / alpha = 80 and 0.002.

    VP does not end at 0, and its last step to there is left out.
    """
    steps = _steps(side, classes)
    settings = ["churn=40", "s_min=0.05", "s_max=50", "s_noise=1.003"] if steps == 256 else ["churn=0"]
    words = [f"edm.{setting}" for setting in settings]
    ends = process.ends[1] == 0
    for name, level, used in (
        ("start", 80.0, process.lam(process.ends[0]) < -np.log(80.001)),
        ("end", 0.002, not ends),
    ):
        if used:
            words.append(f"karras.{name}={float(process.time(-np.log(level))):.9g}")
    calls = 2 * steps - (1 if ends else 2)
    return " ".join([f"--sampler edm --nfe {calls} --grid karras", *(f"--set {word}" for word in words)])
