"""An experiment that was made in Python as the text of a config."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from fewstep.cli.config import registry
from fewstep.cli.config.given import PARTS, VALUES, path_of
from fewstep.cli.config.load import line
from fewstep.train.experiment import Experiment


def config_text(experiment: Experiment, given: Mapping[str, Any]) -> str:
    """The experiment as a config, from which it opens again.

    given: the parts as the user gave them.  A part that no config can name is written as a reference to
    `given_in_python`; levers of previews that no config can name are omitted, because training does not depend on them.
    """
    bindings: dict[str, str] = {}
    for field in fields(experiment):
        name, value = field.name, given.get(field.name, getattr(experiment, field.name))
        try:
            text = _written(value, name, bindings)
        except LookupError:
            if name not in PARTS:
                continue
            text = f"@{name}/given_in_python" + "()" * (name in VALUES)
            bindings[f"{name}/given_in_python.part"] = repr(name)
            if path := path_of(value):
                bindings[f"{name}/given_in_python.path"] = repr(path)
        bindings[f"train.{name}"] = text
    return "".join(line(name, bindings[name]) + "\n" for name in sorted(bindings))


def _written(value, scope, bindings):
    """A value as a config writes it; its settings are added to the bindings.  LookupError if no config can name it."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        inner = [_written(one, scope, bindings) for one in value]
        return f"({', '.join(inner)}{',' * (len(inner) == 1)})"
    for name, constant in registry.CONSTANTS.items():
        if value is constant:
            return f"%{name}"
    if isinstance(value, partial):
        if value.args:
            raise LookupError(value)
        return "@" + _bound(_name(value.func), value.keywords, scope, bindings)
    if callable(value) and not _made(value):
        return f"@{_name(value)}"
    name = _name(type(value))
    if not is_dataclass(value):
        raise LookupError(value)
    settings = {f.name: getattr(value, f.name) for f in fields(value) if f.init and f.name in registry.parameters(name)}
    return f"@{_bound(name, settings, scope, bindings)}()"


def _made(value):
    """Whether it is an instance of a class that a config names."""
    return type(value) in registry.CONFIGURABLES.values()


def _name(part):
    for name, known in registry.CONFIGURABLES.items():
        if part is known and name != "given_in_python":
            return name
    raise LookupError(part)


def _bound(name, settings, scope, bindings):
    """The name, with its settings added to the bindings: in a scope of its own if it already has other bindings."""
    unset = inspect.Parameter.empty
    known = registry.parameters(name)
    found = {
        f"{name}.{key}": _written(value, scope, bindings)
        for key, value in settings.items()
        if key not in known or known[key].default is unset or known[key].default != value
    }
    if any(bindings.get(at, text) != text for at, text in found.items()):
        found, name = {f"{scope}/{at}": text for at, text in found.items()}, f"{scope}/{name}"
    bindings |= found
    return name
