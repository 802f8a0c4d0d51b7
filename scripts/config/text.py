"""An experiment that was made in Python as the text of a config, the same as of `canonical_text`."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath

from fewstep.cli.config import registry
from fewstep.cli.config.given import PARTS, VALUES, handing_over, path_of
from fewstep.cli.config.load import BINDINGS, experiment, line, load_text
from fewstep.cli.config.messages import building
from fewstep.errors import UsageError
from fewstep.train.experiment import Experiment
from fewstep.train.loop import Training

UNSET = inspect.Parameter.empty


def config_text(given: Mapping[str, Any]) -> str:
    """The experiment of these parts and settings as a config, with all defaults.

    A part that no config can name is written as a reference to `given_in_python`; levers of previews that no config can
    name are omitted, because training does not depend on them.
    """
    bindings: dict[str, str] = {}
    for field in fields(Experiment):
        name, value = field.name, given.get(field.name, field.default)
        try:
            if name in PARTS and name not in VALUES and not callable(value) and value is not None:
                raise LookupError(value)
            text = _written(value, name, bindings)
        except LookupError:
            text = "()"
            if name in PARTS:
                text = f"@{name}/given_in_python" + "()" * (name in VALUES)
                bindings[f"{name}/given_in_python.part"] = repr(name)
                if path := path_of(value):
                    bindings[f"{name}/given_in_python.path"] = repr(path)
        bindings[f"train.{name}"] = text
    used = {name.split(".")[0].split("/")[-1] for name in bindings} - {"given_in_python"}
    values = {at: text for name in used for at, text in registry.defaults(name).items()} | bindings
    return "".join(line(name, values[name]) + "\n" for name in sorted(values))


def check_reads_back(text: str, parts: Mapping[str, Any], training: Training) -> None:
    """UsageError unless `open_run` will find the same experiment in this text: with these parts of those given."""
    with BINDINGS, handing_over(parts), building("the config of this run"):
        load_text(epath.Path("config.gin"), text)
        read = experiment()
        _, shapes = read.abstract(training.data.shape, training.data.classes)
    ours = training.fresh.eval_shape().params["net"]
    differ = ["network"] * (jax.tree.map(_form, shapes) != jax.tree.map(_form, ours))
    for field in fields(read):
        value, known = getattr(read, field.name), getattr(training.experiment, field.name)
        if field.name != "levers" and not callable(known) and value is not known and value != known:
            differ.append(field.name)
    if differ:
        raise UsageError(f"the {differ[0]} cannot be stored in a config: a run trained with it would not open again")


def _form(array):
    return array.shape, str(array.dtype)


def _written(value, scope, bindings):
    """A value as a config writes it; its settings are added to the bindings.  LookupError if no config can name it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise LookupError(value)
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
    if is_dataclass(value) and not inspect.isclass(value):
        name = _name(type(value))
        settings = {key: getattr(value, key) for key in registry.parameters(name)}
        return f"@{_bound(name, settings, scope, bindings)}()"
    return "@" + _bound(_name(value), {}, scope, bindings)


def _name(part):
    for name, known in registry.CONFIGURABLES.items():
        if part is known and name != "given_in_python":
            return name
    raise LookupError(part)


def _bound(name, settings, scope, bindings):
    """The name, with its settings and defaults added to the bindings: in a scope if it already has others."""
    defaults, found = {key: p.default for key, p in registry.parameters(name).items()}, {}
    for key, value in (defaults | settings).items():
        try:
            found |= {} if value is UNSET else {key: _written(value, scope, bindings)}
        except LookupError:
            if value is not defaults.get(key, UNSET):
                raise
    names = (f"{prefix}{name}" for prefix in ("", f"{scope}/", *(f"{scope}{n}/" for n in range(2, 100))))
    at = next(at for at in names if all(bindings.get(f"{at}.{key}", text) == text for key, text in found.items()))
    bindings |= {f"{at}.{key}": text for key, text in found.items()}
    return at
