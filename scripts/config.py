"""Configs: the only place that knows gin.

Every public constructor is registered here under its own name, so a config reads like the calls it makes and the
library never depends on a global.  Bindings live in the process until the next `load`.
"""

import difflib
import importlib.util  # noqa: F401  (gin 0.5 uses it without importing it)
import inspect
import io
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import gin
from gin import config_parser

import diffusion
from diffusion.networks import MLP, UNet
from diffusion.prediction import EPS, SCORE, VELOCITY, X0, V, edm
from samplers import GRIDS, SAMPLERS
from samplers.euler import SDE_NOISES
from scripts.errors import UserError, nearest
from train import optimizers
from train.data import SOURCES
from train.experiment import Experiment
from train.objectives import Denoising
from train.objectives.times import TIMES
from train.objectives.weights import WEIGHTS
from train.run import Run, restore

_PARTS = {
    "diffusion": {
        p.__name__: p for p in (diffusion.Linear, diffusion.VP, diffusion.Cosine, diffusion.VE, diffusion.Shifted)
    }
    | {"edm": edm, "UNet": UNet, "MLP": MLP},
    "train": SOURCES | TIMES | WEIGHTS | {"adamw": optimizers.adamw, "denoising": Denoising, "train": Experiment},
    "samplers": {name: sampler.rows for name, sampler in SAMPLERS.items()} | SDE_NOISES,
    "grids": GRIDS,
    "levers": diffusion.LEVERS,
}
_ALL = {name: part for parts in _PARTS.values() for name, part in parts.items()}
_BOUND = {
    name: gin.external_configurable(part, name=name, module=module)
    for module, parts in _PARTS.items()
    for name, part in parts.items()
}
for _name, _value in {"EPS": EPS, "X0": X0, "V": V, "VELOCITY": VELOCITY, "SCORE": SCORE}.items():
    gin.constant(_name, _value)


class _Names(config_parser.ParserDelegate):
    """Parses references to their names: nothing is bound or called."""

    def configurable_reference(self, name, evaluate):
        return name

    def macro(self, name):
        return name


def find(config) -> Path:
    """The config at this path, else the one of that name among those that come with fewstep."""
    path = Path(config)
    if path.is_file():
        return path
    shipped = Path(str(files("configs") / str(config).removeprefix("configs/")))
    if shipped.is_file():
        return shipped
    root = Path(str(files("configs")))
    known = [f"configs/{p.relative_to(root)}" for p in root.rglob("*.gin")]
    raise UserError(f"no config {config}: {nearest(str(config), known)}")


def load(path, overrides=(), trust=False) -> str:
    """Bind a config and then the overrides ("ddim.eta=0.5"); the text of all bindings, in one canonical order."""
    gin.clear_config()
    gin.add_config_file_search_path(str(Path(path).parent))
    bindings = [_quoted(override) for override in overrides]
    with _translated(path):
        if not trust:
            with open(path) as file:
                _refuse_imports(file)
            _refuse_imports(io.StringIO("\n".join(bindings)))
        gin.parse_config_file(str(path))
    for override, binding in zip(overrides, bindings, strict=True):
        with _translated(f"--set {override}"):
            gin.parse_config([binding])
    return gin.config_str()


def experiment() -> Experiment:
    """The experiment that the bindings describe."""
    with _translated("the config"):
        return _BOUND["train"]()


def sampler(name):
    """A sampler of the registry with its bindings."""
    return replace(SAMPLERS[name], rows=_BOUND[name])


def grid(name):
    """A grid with its bindings."""
    return _BOUND[name]


def lever(name):
    """A lever with its bindings."""
    return _BOUND[name]


def open_run(folder, overrides=()) -> Run:
    """The run in this folder, ready to draw from: `open_run("runs/flow").draw("dpmpp_2m", nfe=10, seeds=range(64))`."""
    path = Path(folder) / "config.gin"
    if not path.is_file():
        raise UserError(f"{folder} is not a run: it has no config.gin (make one with `fewstep train`)")
    load(path, overrides)

    def load_data():
        load(path, overrides)
        return experiment().data()

    return restore(folder, experiment(), load_data)


def difference(told, asked) -> str:
    """What two canonical config texts disagree on, a line each."""
    lines = difflib.unified_diff(told.splitlines(), asked.splitlines(), "the run", "now", lineterm="", n=0)
    return "\n".join(
        line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---") and line.strip("+-# ")
    )


def _quoted(override):
    """A bare word as a gin string: --set npz.path=a.npz."""
    name, equals, value = override.partition("=")
    if not equals or "\n" in override:
        raise UserError(f"--set {override!r}: write name.parameter=value")
    if re.fullmatch(r"[A-Za-z_./~][\w./:~-]*", value.strip()) and value.strip() not in ("None", "True", "False"):
        value = repr(value.strip())
    return f"{name}={value}"


def _refuse_imports(file):
    for statement in config_parser.ConfigParser(file, _Names()):
        where = f"{statement.location.filename or '--set'}, line {statement.location.line_num}"
        if isinstance(statement, config_parser.ImportStatement):
            raise UserError(f"{where}: a config may not import code; pass --trust if you trust it")
        if isinstance(statement, config_parser.IncludeStatement):
            beside = Path(statement.location.filename or ".").parent / statement.filename
            with open(beside if beside.is_file() else statement.filename) as included:
                _refuse_imports(included)


class _translated:
    """Turns gin's errors into one line with the place and, for a name, the nearest one there is."""

    def __init__(self, where):
        self.where = where

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, UserError) or not isinstance(error, Exception):
            return
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [kind.__name__]
        place = next((found[0] for line in lines if (found := re.search(r'[Ii]n file "[^"]+", line \d+', line))), None)
        place = place or next((m[0] for line in lines if (m := re.search(r"\([^()]+, line \d+\)", line))), None)
        failed = next((line for line in lines if line.startswith("Failed to parse")), None)
        message = failed or lines[0] + _suggestion(lines[0])
        raise UserError(f"{place.strip('()') if place else self.where}: {message}") from error


def _suggestion(message):
    if found := re.search(r"No configurable matching (?:reference )?'@?([\w.]+)", message):
        return f": {nearest(found[1].split('.')[-1], _BOUND)}"
    if found := re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message):
        part = _ALL[found[1].split(".")[-1]]
        known = inspect.signature(part.__init__ if inspect.isclass(part) else part).parameters
        return f": {nearest(found[2], known.keys() - {'self'})}"
    if "missing" in message and "required" in message:
        return " (set it in the config)"
    return ""
