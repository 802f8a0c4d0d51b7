"""What a config may name: every public constructor under its own name, and the types of its parameters."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import gin
from gin.config import ConfigurableReference

from fewstep import diffusion, ranges
from fewstep.cli.config.given import given_in_python
from fewstep.cli.errors import UserError
from fewstep.diffusion.foreign import CM, Clocked, Indexed, Transferred
from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D
from fewstep.diffusion.prediction import EDM, EPS, SCORE, VELOCITY, X0, V
from fewstep.diffusion.variance import VARIANCES
from fewstep.samplers import GRIDS, SAMPLERS
from fewstep.samplers.euler import SDE_NOISES
from fewstep.samplers.interpolant import NOISES
from fewstep.samplers.sa_solver import TAUS
from fewstep.train import optimizers
from fewstep.train.data import SOURCES, pairs
from fewstep.train.data.absent import no_data
from fewstep.train.data.semidiscrete import Semidiscrete
from fewstep.train.experiment import Experiment
from fewstep.train.objectives import OBJECTIVES
from fewstep.train.objectives.consistency import NEIGHBOURS, SIZES
from fewstep.train.objectives.times import TIMES
from fewstep.train.objectives.weights import WEIGHTS
from fewstep.train.run.levers import LEVERS

Part = Callable[..., Any]  # a class or a function

PROCESSES = {name: getattr(diffusion, name) for name in ("Linear", "VP", "Cosine", "VE", "Shifted", "Discrete", "PFGM")}
NETWORKS = {"UNet": UNet, "UNet2D": UNet2D, "DiT": DiT, "MLP": MLP}
PREDICTIONS = {part.__name__: part for part in (EDM, Indexed, Clocked, CM, Transferred)}
CONSTANTS = {"EPS": EPS, "X0": X0, "V": V, "VELOCITY": VELOCITY, "SCORE": SCORE}

# By kind; the second entry lists the parameters that the code fills in, not the config.
GROUPS = {
    "diffusion": (PROCESSES | PREDICTIONS, ()),
    "variances": (VARIANCES, ()),
    "networks": (NETWORKS, ("shape", "classes", "jumps", "guided", "variance", "rngs")),
    "data": (SOURCES | {"pairs": pairs, "no_data": no_data}, ()),
    "couplings": ({"semidiscrete": Semidiscrete}, ()),
    "times": (TIMES, ("process", "key", "n")),
    "weights": (WEIGHTS, ("process", "prediction", "t")),
    "neighbours": (NEIGHBOURS, ("process", "t", "done")),
    "sizes": (SIZES, ("process", "prediction", "t", "s")),
    "optimizers": (optimizers.OPTIMIZERS, ("steps", "heads")),
    "schedules": (optimizers.SCHEDULES, ("done",)),
    "objectives": (OBJECTIVES, ("known",)),
    "train": ({"train": Experiment}, ()),
    "python": ({"given_in_python": given_in_python}, ()),
    "samplers": ({name: sampler.rows for name, sampler in SAMPLERS.items()}, ("process", "grid", "known")),
    "noises": (SDE_NOISES | NOISES | TAUS, ("process", "t")),
    "grids": (GRIDS, ("process", "steps", "known")),
    "levers": (LEVERS, ()),
}
SETTINGS = ("samplers", "noises", "grids", "levers")  # chosen when a run is sampled, not when it is trained
CONFIGURABLES: dict[str, Part] = {name: part for parts, _ in GROUPS.values() for name, part in parts.items()}
GROUP_OF = {name: module for module, (parts, _) in GROUPS.items() for name in parts}
PATHS = {f"{name}.path" for name, source in SOURCES.items() if "path" in inspect.signature(source).parameters}
PATHS |= {"npy.labels", "pairs.path", "autoguidance.run"}
SEVERAL_PATHS = {"frechet.features"}  # or names without "/" and ".", separated by commas


def filled_in(part: Part, hidden: Iterable[str]) -> list[str]:
    """Those of the parameters `hidden` that a part has."""
    return [parameter for parameter in hidden if parameter in _signature(part)]


def _signature(part):
    return inspect.signature(part.__init__ if inspect.isclass(part) else part).parameters


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters that a config may set, by name."""
    part, hidden = CONFIGURABLES[name], GROUPS[GROUP_OF[name]][1]
    return {key: p for key, p in _signature(part).items() if key != "self" and key not in hidden}


def only_text(name: str, parameter: str) -> bool:
    """Whether a parameter takes only texts, or also None."""
    known = parameters(name).get(parameter) if name in CONFIGURABLES else None
    return known is not None and set(ranges.members(known.annotation)) - {type(None)} == {str}


def check(where: str, name: str, parameter: str, value: object) -> None:
    """UserError unless a literal value is what the annotation of the parameter says."""
    if name not in CONFIGURABLES or _refers(value):  # from code that a trusted config imports; or checked when called
        return
    wanted = parameters(name)[parameter].annotation
    if not ranges.fits(value, wanted) or value in (math.inf, -math.inf):  # a config has no infinity
        raise UserError(f"{where}: {name}.{parameter} is {ranges.words(wanted)}, not {value!r}")


def _refers(value):
    """Whether something in a literal stands for a part or a macro."""
    if isinstance(value, list | tuple):
        return any(map(_refers, value))
    return isinstance(value, ConfigurableReference)


def defaults(name: str) -> dict[str, str]:
    """The defaults of all parameters of a part, as a config writes them, {"adamw.lr": "0.001", ...}, and those of parts
    that are defaults themselves."""
    found = {}
    for key, parameter in parameters(name).items():
        default = parameter.default
        if default is inspect.Parameter.empty or (isinstance(default, float) and not math.isfinite(default)):
            continue  # a config has no infinity
        text, part = _written(default)
        found[f"{name}.{key}"] = text
        found |= defaults(part) if part else {}
    return found


def default_parts() -> dict[str, str]:
    """The defaults that are functions with a name in a config, {"adamw.schedule": "@cosine_decay", ...}."""
    found = {at: text for name in CONFIGURABLES for at, text in defaults(name).items()}
    return {at: text for at, text in found.items() if text.startswith("@") and not text.endswith("()")}


def _written(value):
    """A default as a config writes it, and the name of the part that it is or was made by, if any."""
    for name, constant in CONSTANTS.items():
        if value is constant:
            return f"%{name}", None
    for name, part in CONFIGURABLES.items():
        if value is part:
            return f"@{name}", name
        if inspect.isclass(part) and type(value) is part and value == part():
            return f"@{name}()", name
    return repr(value), None


REGISTERED: dict[str, Part] = {
    name: gin.external_configurable(part, name=name, module=group, denylist=filled_in(part, hidden))
    for group, (parts, hidden) in GROUPS.items()
    for name, part in parts.items()
}
for _name, _value in CONSTANTS.items():
    gin.constant(_name, _value)
