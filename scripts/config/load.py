"""A config: its bindings, the experiment that they describe, and its text in one canonical form."""

import difflib
import inspect
import os
import re
import threading
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import gin
from etils import epath
from gin.config import _REGISTRY, parse_value

from fewstep.cli.config import registry
from fewstep.cli.config.messages import target
from fewstep.cli.config.parse import bind_file, bind_override, bind_text
from fewstep.cli.errors import UserError
from fewstep.cli.parse import path as parsed_path
from fewstep.errors import nearest
from fewstep.train.experiment import Experiment
from fewstep.train.utils.files import is_remote

QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
REFERENCE = re.compile(r"([@%])([\w./]+)(\(\))?")

BINDINGS = threading.RLock()  # gin's bindings are global: hold it from `load` until they are no longer needed

# What may change when a run resumes: its losses do not depend on it.
FREE = {
    f"train.{name}"
    for name in ("mesh", "accumulate", "wandb", "levers", "log_every", "save_every", "preview_every", "patience")
}


def find(config: epath.PathLike) -> epath.Path:
    """The config at this path, else the one of that name among those that come with fewstep.

    UserError if there is neither.
    """
    path = parsed_path(config, "CONFIG")
    if path.exists() and not path.is_dir():
        return path
    root = epath.Path(str(files("fewstep.configs")))
    shipped = root / str(config).removeprefix("configs/")
    if shipped.is_file():
        return shipped
    known = [f"configs/{p.parent.name}/{p.name}" for p in root.glob("*/*.gin")]
    raise UserError(f"no config {config}: {nearest(str(config), known)}")


def load(path: epath.PathLike, overrides: Iterable[str] = (), trust: bool = False, includes: bool = True) -> None:
    """Forget all bindings; bind a config and then the overrides, such as "adamw.lr=1e-3".  That of a run has no
    `includes`."""
    _forget()
    bind_file(epath.Path(path), trust, () if includes else None)
    for override in overrides:
        bind_override(override)


def load_text(path: epath.Path, text: str) -> None:
    """The same for the text of a config that is not written yet; the path is that of messages."""
    _forget()
    bind_text(path, text)


def _forget():
    """No bindings but those of default parts, without which gin would not pass on the settings of these parts."""
    gin.clear_config()
    for name, part in registry.default_parts().items():
        bind_override(f"{name}={part}")


def experiment() -> Experiment:
    """The experiment that the bindings describe."""
    return registry.REGISTERED["train"]()


def network() -> tuple[str, dict[str, Any]]:
    """The name of the network that the bindings describe, and the values of its arguments."""
    reference = gin.query_parameter("train.network")
    return reference.selector.split(".")[-1], gin.get_bindings(reference.scoped_selector)


def canonical_text(overrides: Iterable[str] = ()) -> str:
    """All values that the experiment of the bindings uses, defaults included, as a config in canonical order.

    UserError for an override that it does not use.
    """
    written = gin.config_str(max_line_length=1_000_000)  # with rulers of that length between the parts
    text = "\n".join(row for row in written.split("\n") if not row.startswith("#"))
    bound = dict(re.findall(r"^([\w./]+) = (.+)$", text, re.MULTILINE))
    values: dict[str, str] = {}
    _add_used("train", bound, values, set())
    for override in overrides:
        if target(override) not in values:
            raise UserError(f"--set {override}: nothing here uses {target(override)}")
    imports = re.findall(r"^(?:import|from) .+$", text, re.MULTILINE)
    return "\n".join([*imports, *(line(name, values[name]) for name in sorted(values))]) + "\n"


def _add_used(at, bound, values, done):
    """Add the values of a part or a macro, as in "scope/part", and of all that they name, to `values`."""
    if at in done or at in registry.CONSTANTS:
        return
    done.add(at)
    *scopes, selector = at.split("/")
    name = selector.split(".")[-1]
    own = registry.defaults(name) if name in registry.CONFIGURABLES else {}
    if name not in registry.CONFIGURABLES and selector not in bound:
        own = _foreign_defaults(selector)
    others = {key: text for key, text in own.items() if _part_of(key) != name}  # of parts that are defaults
    own = {key: text for key, text in own.items() if key not in others}
    for depth in range(len(scopes) + 1):  # an inner scope comes last
        within = {key.split("/")[-1]: text for key, text in bound.items() if key.split("/")[:-1] == scopes[:depth]}
        own |= {key: text for key, text in within.items() if _part_of(key) == name}
    for key, text in others.items():
        values.setdefault(key, text)
    values |= {"/".join([*scopes, key]): text for key, text in own.items()}
    for text in own.values():
        for sign, inner, called in REFERENCE.findall(QUOTED.sub("", text)):
            here = sign == "@" and called and "/" not in inner  # made within the scope of this part
            _add_used("/".join([*scopes, inner]) if here else inner, bound, values, done)


def _part_of(key):
    """Whose value it is: "adamw" of optimizers.adamw.lr, and the macro itself."""
    return key.split("/")[-1].split(".")[-2:][0]


def _foreign_defaults(selector):
    """Those of a part that code which the config imports has registered: what a config can set."""
    denied = getattr(_REGISTRY.get_match(selector), "denylist", None) or ()
    parameters = inspect.signature(gin.get_configurable(selector)).parameters
    free = {key: p.default for key, p in parameters.items() if key not in denied}
    return {f"{selector}.{key}": repr(default) for key, default in free.items() if _is_literal(default)}


def _is_literal(value):
    try:
        return parse_value(repr(value)) == value
    except (SyntaxError, ValueError):
        return False


def difference(before: str, now: str) -> list[str]:
    """The lines in which two canonical texts disagree, - before, + now.

    Omits what may change when a run resumes, and defaults that an older version did not have.
    """
    old, new = ([_again(one) for one in text.splitlines() if one and one[0] != "#"] for text in (before, now))
    changes = difflib.unified_diff(old, new, lineterm="", n=0)
    kept = (one for one in changes if one[:1] in "+-" and one[:3] not in ("+++", "---"))
    return [one for one in kept if not _free(one[1:].split(" = ")[0]) and not _new_default(one, before)]


def line(name: str, value: str) -> str:
    """A binding; paths of data are absolute, so that a run finds its data from any working directory."""
    if value[:1] in ("'", '"'):
        if name in registry.PATHS and not is_remote(value):
            value = repr(_absolute(parse_value(value)))
        elif name in registry.SEVERAL_PATHS:
            words = (word.strip() for word in parse_value(value).split(","))
            named = [word if is_remote(word) or not {"/", "."} & {*word} else _absolute(word) for word in words]
            value = repr(",".join(named))
    return f"{name} = {value}"


def _absolute(path):
    return os.path.abspath(os.path.expanduser(path))


def _again(text):
    name, equals, value = text.partition(" = ")
    return line(name, value) if equals else text


def _free(name):
    """Also where a part that was given in Python is imported from."""
    return name in FREE or name.endswith("/given_in_python.path") or name.split(".")[0] in registry.LEVERS


def _new_default(change, before):
    name, _, value = change[1:].partition(" = ")
    part = name.split(".")[0]
    added = change[0] == "+" and f"\n{name} = " not in f"\n{before}" and part in registry.CONFIGURABLES
    return added and registry.defaults(part).get(name) == value
