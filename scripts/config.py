"""Configs: the only place that knows gin.

Every public constructor is registered here under its own name, so a config reads like the calls it makes and the
library never depends on a global.  gin's bindings live in the process until the next `load`; what outlives it (the
settings of samplers) is taken out of them at once.
"""

import difflib
import importlib.util  # noqa: F401  (gin 0.5 uses it without importing it)
import io
import os
import re
from dataclasses import dataclass, replace
from functools import partial, update_wrapper
from importlib.resources import files

import gin
from etils import epath
from gin import config_parser

from fewstep.cli import parts
from fewstep.cli.errors import UserError, nearest
from fewstep.cli.overrides import blamed, quoted, target
from fewstep.samplers import GRIDS, SAMPLERS
from fewstep.train.experiment import Experiment
from fewstep.train.files import absolute, is_remote
from fewstep.train.run import Run, restore

_BOUND = {
    name: gin.external_configurable(part, name=name, module=module, denylist=parts.filled_in(part, hidden))
    for module, (group, hidden) in parts.PARTS.items()
    for name, part in group.items()
}
for _name, _value in parts.CONSTANTS.items():
    gin.constant(_name, _value)


def find(config) -> epath.Path:
    """The config at this path, else the one of that name among those that come with fewstep."""
    path = epath.Path(config)
    if path.is_file():
        return path
    root = epath.Path(str(files("fewstep.configs")))
    shipped = root / str(config).removeprefix("configs/")
    if shipped.is_file():
        return shipped
    known = [f"configs/{p.parent.name}/{p.name}" for p in root.glob("*/*.gin")]
    raise UserError(f"no config {config}: {nearest(str(config), known)}")


def load(path, overrides=(), trust=False) -> None:
    """Forget all bindings; bind a config and then the overrides, such as "adamw.lr=1e-3"."""
    gin.clear_config()
    for name, text in _pieces(epath.Path(path), trust, ()):
        _bind(name, text, trust)
    for override in overrides:
        _bind(f"--set {override}", quoted(override), trust=False)


def experiment() -> Experiment:
    """The experiment that the bindings describe."""
    return _BOUND["train"]()


def operative(overrides=()) -> str:
    """All values that were used since `load`, defaults included, in one canonical order.

    UserError for an override that nothing used.
    """
    text = gin.operative_config_str(max_line_length=1_000_000)
    used = re.findall(r"^# Parameters for ([\w.]+):$", text, re.MULTILINE)
    values = {}
    for name in used:
        values |= parts.defaults(name.split(".")[-1]) if name.split(".")[-1] in parts.ALL else {}
    values |= dict(re.findall(r"^([\w./]+) = (.+)$", text, re.MULTILINE))
    for override in overrides:
        if target(override) not in values:
            raise UserError(f"--set {override}: nothing here uses {target(override)}")
    imports = re.findall(r"^(?:import|from) .+$", text, re.MULTILINE)
    return "\n".join([*imports, *(_line(name, values[name]) for name in sorted(values))]) + "\n"


def _line(name, value):
    """A binding; paths of data are absolute, so that a run finds its data from everywhere."""
    if name in parts.PATHS and value[:1] in ("'", '"') and not is_remote(value):
        value = repr(os.path.abspath(os.path.expanduser(gin.config.parse_value(value))))
    return f"{name} = {value}"


def _again(line):
    name, equals, value = line.partition(" = ")
    return _line(name, value) if equals else line


@dataclass(frozen=True)
class Settings:
    """Samplers, grids, levers and processes as the command line sets them."""

    samplers: dict
    grids: dict
    levers: dict
    processes: dict
    given: dict  # name: the option that set something of it


def refuse_unused(given, used):
    """UserError for an option, of Settings.given, about something that is not among the names."""
    for name, option in given.items():
        if name not in used:
            raise UserError(f"{option}: {name} is not used here")


def settings(overrides=(), run=True) -> Settings:
    """The registries with the overrides bound; UserError for an override of anything else: where there is a run, of its
    process too.
    """
    settable = parts.SETTINGS if run else (*parts.SETTINGS, "diffusion")
    gin.clear_config()
    given = {}
    for override in overrides:
        for statement in _statements(f"--set {override}", quoted(override)):
            name = _target(statement)[0]
            if parts.MODULE.get(name, "samplers") not in settable:
                what = "samplers, grids and levers are set here; a run stays as trained"
                what = what if run else "samplers, grids, levers and processes are set here"
                raise UserError(f"--set {override}: only {what}")
        _bind(f"--set {override}", quoted(override), trust=False)
        given[name] = f"--set {override}"
    with translated(f"--set {' --set '.join(overrides)}"):
        samplers = {name: replace(sampler, rows=_taken(name)) for name, sampler in SAMPLERS.items()}
        others = ({name: _taken(name) for name in names} for names in (GRIDS, parts.LEVERS, parts.PROCESSES))
    return Settings(samplers, *others, given)


def open_run(folder, trust=False, step=None, mesh=(-1, 1, 1), calibrate=False) -> Run:
    """The run in this folder, ready to draw from: `open_run("runs/flow").draw("dpmpp_2m", nfe=10, seeds=range(64))`.

    `trust` allows the config it was trained with to import code; `step` is that of a checkpoint, None the newest;
    `mesh` says on which devices, as for `sharding.make_mesh`; with `calibrate` the variances that a sampler needs are
    measured where that was not done.
    """
    path = epath.Path(folder) / "config.gin"
    if not path.is_file():
        raise UserError(f"{folder} is not a run: it has no config.gin (make one with `fewstep train`)")

    def load_data():
        load(path, trust=trust)
        source = told.data.__name__
        hint = f"where the data have moved, edit {source}.path in {path}" if f"{source}.path" in parts.PATHS else ""
        with translated(folder, hint=hint):
            return experiment().data()

    load(path, trust=trust)
    with translated(path):
        told = experiment()
    return replace(restore(folder, told, load_data, step, mesh), calibrates=calibrate, trusts=trust)


FREE = (
    "train.mesh",
    "train.accumulate",
    "train.wandb",
    "train.levers",
)  # what may change when a run goes on: its losses do not


def difference(told, asked) -> list[str]:
    """The lines in which two canonical config texts disagree, - before the one, + before the other, without what is
    free and without defaults that the one, older, did not know."""
    lines = ([_again(line) for line in text.splitlines() if line and line[0] != "#"] for text in (told, asked))
    changes = difflib.unified_diff(*lines, lineterm="", n=0)
    kept = (line for line in changes if line[:1] in "+-" and line[:3] not in ("+++", "---"))
    return [line for line in kept if not _free(line[1:].split(" = ")[0]) and not _new_default(line, told)]


def _free(name):
    return name in FREE or name.split(".")[0] in parts.LEVERS


def _new_default(line, told):
    name, _, value = line[1:].partition(" = ")
    part = name.split(".")[0]
    added = line[0] == "+" and f"{name} = " not in told and part in parts.ALL
    return added and parts.defaults(part).get(name) == value


class translated:
    """Turns gin's and Python's errors about a config into one line with the place and, for a name, the nearest one.

    The place is where gin says, or else the overrides that the error is about, or `where`; `hint` says what else to do.
    """

    def __init__(self, where, overrides=(), hint=""):
        self.where, self.overrides, self.hint = where, overrides, hint

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, Exception) or isinstance(error, UserError):
            return
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [kind.__name__]
        places = [found[1] for line in lines for found in re.finditer(r'(?:n file |\()("?[^"()]+"?, line \d+)', line)]
        inside = re.findall(r"In call to configurable '(\w+)'", str(error))
        part = inside[0] if inside and inside[0] not in ("train", "macro") else ""
        message = _plain(next((line for line in lines if line.startswith("Failed to parse")), lines[0]))
        place = self.where if not places or str(self.where).startswith("--set") else places[0].replace('"', "")
        if not places and (typed := blamed(self.overrides, message, part)):
            place = " ".join(f"--set {override}" for override in typed)
        ends = f" (in {part})" * bool(part) + f"; {self.hint}" * bool(self.hint)
        raise UserError(f"{place}: {message}{ends}") from error


def _pieces(path, trust, within):
    """(name, text) of a config and of what it includes, in the order of binding; an include is looked for beside the
    file that names it.  Nothing is bound or run; a text begins with as many empty lines as came before it in its file.
    """
    path = absolute(path)
    if path in within:
        raise UserError(f"{path} includes itself")
    with translated(path):
        lines = path.read_text().splitlines()
    begin = 0
    for statement in _statements(path, "\n".join(lines), trust):
        if isinstance(statement, config_parser.IncludeStatement):
            number = statement.location.line_num
            yield str(path), "\n" * begin + "\n".join(lines[begin : number - 1])
            included = path.parent / statement.filename
            if not included.is_file():
                raise UserError(f"{path}, line {number}: there is no file {included} to include")
            yield from _pieces(included, trust, (*within, path))
            begin = number
    yield str(path), "\n" * begin + "\n".join(lines[begin:])


def _bind(name, text, trust):
    with translated(name):
        file = io.StringIO(text)
        file.name = name
        gin.parse_config(file)
    for statement in _statements(name, text, trust):
        literal = not isinstance(getattr(statement, "value", _Reference()), _Reference)
        if literal and statement.arg_name:
            where = name if name.startswith("--set") else f"{name}, line {statement.location.line_num}"
            parts.check(where, *_target(statement), statement.value)


class _Reference(str):
    """The name of a configurable or macro that a config refers to."""


class _Names(config_parser.ParserDelegate):
    """Parses references to their names: nothing is bound or called."""

    def configurable_reference(self, name, evaluate):
        return _Reference(name)

    def macro(self, name):
        return _Reference(name)


def _statements(where, text, trust=False):
    """The parsed statements; UserError for imports without trust."""
    with translated(where):
        statements = list(config_parser.ConfigParser(text, _Names()))
    for statement in statements:
        if isinstance(statement, config_parser.ImportStatement) and not trust:
            line = "" if str(where).startswith("--set") else f", line {statement.location.line_num}"
            raise UserError(f"{where}{line}: a config may not import code; pass --trust if you trust it")
    return statements


def _target(statement):
    """(configurable, parameter) of a binding."""
    return getattr(statement, "selector", "").split(".")[-1], getattr(statement, "arg_name", "")


def _taken(name):
    """The part with its bindings of this moment."""
    part = parts.ALL[name]
    return update_wrapper(partial(part, **gin.get_bindings(f"{parts.MODULE[name]}.{name}")), part)


def _plain(message):
    """gin's or Python's message with what to do about it."""
    message = message.removesuffix(".")
    if found := re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", message):
        return f"nothing is called {found[1]!r}: {nearest(re.split('[./]', found[1])[-1], _BOUND)}"
    if found := re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message):
        part = found[1].split(".")[-1]
        known = f": {nearest(found[2], parts.parameters(part))}" if part in parts.ALL else ""
        return f"{part} has no parameter {found[2]!r}{known}"
    if found := re.search(r"Configurable '([\w.]+)' has denylisted kwarg '(\w+)'", message):
        return f"{found[1].split('.')[-1]}.{found[2]} is filled in by the program, not by a config"
    if message.startswith("macro() missing"):
        return f"a name after % is none of {', '.join(parts.CONSTANTS)}, nor defined in the config"
    if "EOF in multi-line" in message:
        return "a bracket or a quote is not closed"
    return f"{message} (set it in the config)" if "missing" in message and "required" in message else message
