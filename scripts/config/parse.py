"""The text of a config, or of --set, as gin's bindings: each text is parsed once, and checked before it is bound."""

import ast
import importlib.util  # noqa: F401  (gin 0.5 uses it without importing it)
import io
import os
import re
from collections.abc import Iterator
from importlib.resources import files

import gin
from etils import epath
from gin import config_parser
from gin.config import ConfigurableReference, ParserDelegate

from fewstep.cli.config import registry
from fewstep.cli.config.messages import one_line, target
from fewstep.cli.errors import UserError
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import absolute, is_remote
from fewstep.train.utils.sealed import Changed, read_config

Within = tuple[epath.Path, ...] | None  # the files that include a file, the first outermost; None: it may include none


def bind_file(path: epath.PathLike, trust: bool, within: Within = ()) -> None:
    """Bind what a config file sets, and the files that it includes, by paths relative to its folder.

    Included files are in the folder of the first config or below it, or come with fewstep, where 'digits/flow.gin' also
    finds them.  UserError if a file imports code without `trust`, and for everything that gin or Python refuses in it.
    """
    path = absolute(path)
    if path in (within or ()):
        raise UserError(f"{path} includes itself")
    bind_text(path, file_text(path), trust, within)


def file_text(path: epath.PathLike) -> str:
    """The text of a config file without its seal; UserError if it is none."""
    with one_line(path):
        try:
            return read_config(path)
        except Changed as error:
            raise UserError(str(error)) from None
        except Damaged as error:
            raise UserError(f"{error}: give the file of a config") from None


def bind_text(path: epath.Path, text: str, trust: bool = False, within: Within = ()) -> None:
    """Bind what the text of a config at this path sets."""
    for statement in _statements(str(path), text):
        number = statement.location.line_num
        if isinstance(statement, config_parser.IncludeStatement):
            within = _including(path, within, f"{path}, line {number}")
            bind_file(_included(within, statement.filename, f"{path}, line {number}"), trust, within)
        else:
            _bind(statement, f"{path}, line {number}", trust)


def _including(path, within, where):
    if within is None:
        raise UserError(f"{where}: the config of a run includes no other: it is not as fewstep wrote it")
    return within if path in within else (*within, path)


def _included(within, name, where):
    """The path of an included file; UserError for one that a stranger's config has no reason to read."""
    shipped = epath.Path(str(files("fewstep.configs")))
    found, *roots = map(_resolved, (within[-1].parent / name, within[0].parent, shipped))
    if not found.exists() and (other := shipped / name.removeprefix("configs/")).is_file():
        found = _resolved(other)
    if ".." in found.parts or not any(found.is_relative_to(root) for root in roots):
        raise UserError(f"{where}: {name!r} is neither in {roots[0]} nor among fewstep's configs: copy it there")
    if not found.exists():
        raise UserError(f"{where}: there is no file {found} to include")
    return found


def _resolved(path):
    """Without links, which may lead anywhere; epath keeps them."""
    return absolute(path if is_remote(path) else os.path.realpath(path))


def bind_override(override: str) -> str:
    """Bind the text after --set; returns the name of the part that it sets a parameter of."""
    where = f"--set {override}"
    for statement in _statements(where, _quoted(override)):
        _bind(statement, where, trust=False)
    return target(override).split(".")[0]


def _quoted(override):
    """The override as gin reads it.

    What is neither a literal nor a reference is a text, as in --set npz.path=a.npz, and so is every value of a
    parameter that takes only texts; 1,2,2 is a tuple.
    """
    name, equals, value = (part.strip() for part in override.partition("="))
    if not equals or not re.fullmatch(r"\w+(\.\w+)+", name) or "\n" in override:
        raise UserError(f"--set {override}: write name.parameter=value")
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return f"{name} = {value if re.match(r'[@%([{]', value) else repr(value)}"
    if not isinstance(literal, str | None) and registry.only_text(*target(override).split(".")):
        return f"{name} = {value!r}"
    return f"{name} = {literal if isinstance(literal, tuple) else value}"


def _statements(where, text) -> Iterator:
    """The statements of a text, one after the other, so that an earlier one is bound before a later one is read."""
    file = io.StringIO(text)
    file.name = where
    with one_line(where):
        parser = config_parser.ConfigParser(file, ParserDelegate())
    while True:
        with one_line(where):
            statement = next(parser, None)
        if statement is None:
            return
        yield statement


def _bind(statement, where, trust):
    if isinstance(statement, config_parser.ImportStatement):
        if not trust:
            raise UserError(f"{where}: a config may not import code; give trust=True if you trust it")
        with one_line(where):
            gin.parse_config(statement.format())
    elif isinstance(statement, config_parser.BindingStatement):
        scope, selector, parameter, value, _ = statement
        with one_line(where):
            if not parameter:
                gin.bind_parameter((f"{scope}/{selector}" if scope else selector, "gin.macro", "value"), value)
                return
            gin.bind_parameter((scope, selector, parameter), value)
        if not isinstance(value, ConfigurableReference):
            registry.check(where, selector.split(".")[-1], parameter, value)
    elif isinstance(statement, config_parser.BlockDeclaration):
        with one_line(where):
            gin.get_bindings(statement.selector)
