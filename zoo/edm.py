"""Pickles of NVlabs/edm (Karras et al. 2022, arXiv:2206.00364), which hold the classes and arguments of their networks.

The facts are those of its training/networks.py, generate.py and README.md at 008a4e5.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.diffusion import EPS, VE, VP, Discrete, edm
from fewstep.diffusion.foreign import Clocked, Indexed
from fewstep.diffusion.networks import UNet2D
from fewstep.errors import UsageError
from fewstep.zoo.edm_networks import DEFAULTS, DHARIWAL, SONG, arguments, leaves
from fewstep.zoo.files import Persistent, chosen, flat, read
from fewstep.zoo.found import Found

PRESETS: dict[str, Any] = {}  # its files say what they are
LICENCES = {"Attribution-NonCommercial-ShareAlike 4.0": "CC BY-NC-SA 4.0, says the source in the file"}


def recognises(path: File, read: Callable[[File], Any] = read) -> bool:
    """Whether it is a file with one of EDM's preconditioned networks in it."""
    return path.suffix in (".pkl", ".pickle", ".pt") and path.is_file() and bool(_networks(read(path)))


def find(path: File, name: str | None = None, weights: str | None = None, read: Callable[[File], Any] = read) -> Found:
    """The model in the file, by default the average of its weights.

    weights: another network in it, such as "net".  Raises UsageError for what this network or our processes cannot be.
    """
    networks = _networks(read(path))
    taken, outer = chosen(networks, weights, f"network of {path}")
    modules = outer.state.get("_modules")
    inner = modules.get("model") if isinstance(modules, dict) else None
    if not isinstance(inner, Persistent) or inner.class_name not in DEFAULTS:
        raise UsageError(f"{path} has a {_name(inner)} within its {outer.class_name}: {SONG} and {DHARIWAL} are opened")
    known = DEFAULTS[inner.class_name] | inner.init_kwargs
    try:
        side, channels, classes = (int(known[key]) for key in ("img_resolution", "in_channels", "label_dim"))
        process, prediction = PRECONDITIONS[outer.class_name](outer.state)
        arrays = flat(outer)
        settings = arguments(inner.class_name, known, side)
        name_map = leaves(inner.class_name, known, arrays, side, channels)
    except UsageError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} is damaged: its {outer.class_name} lacks an argument ({error!r})") from None
    kept = tuple(key for key in arrays if key.endswith(".resample_filter"))
    return Found(
        kind=f"{outer.class_name} of a {inner.class_name} of NVlabs/edm",
        network=partial(UNet2D, **settings),
        process=process,
        prediction=prediction,
        shape=(side, side, channels),
        arrays=arrays,
        leaves=name_map,
        files=(str(path),),
        licence=next((words for sign, words in LICENCES.items() if sign in (outer.source or "")), "unknown"),
        classes=classes,
        sampled=_sampled(process, side, classes),
        options=_options(process, side, classes),
        # Filters are those of the arguments; augmentations are for training; u are the noise levels of iDDPMPrecond.
        chosen=taken,
        unused=(*kept, "model.map_augment.", "u"),
    )


def _networks(value: Any) -> dict[str, Persistent]:
    """The preconditioned networks in what a file holds, by their names there."""
    values = value if isinstance(value, dict) else {"": value}
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
