"""Config errors as one line: what is wrong, where, and the most similar name."""

import re
from collections.abc import Iterable
from types import TracebackType

from fewstep.cli.config import registry
from fewstep.cli.errors import UserError
from fewstep.errors import UsageError, nearest


class one_line:
    """A context in which an exception becomes a UserError with the place and, for a wrong name, the most similar one.

    The place is the one that gin reports, else the overrides that the error is about, else `where`; `hint` is added at
    the end.
    """

    def __init__(self, where: object, overrides: Iterable[str] = (), hint: str = ""):
        self.where, self.overrides, self.hint = where, overrides, hint

    def __enter__(self):
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, UserError):
            return
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        places = [found[1] for line in lines for found in re.finditer(r'(?:n file |\()("?[^"()]+"?, line \d+)', line)]
        inside = re.findall(r"In call to configurable '(\w+)'", str(error))
        part = inside[0] if inside and inside[0] not in ("train", "macro", "no_data") else ""
        message = _plain(next((line for line in lines if line.startswith("Failed to parse")), lines[0]))
        place = self.where if not places or str(self.where).startswith("--set") else places[0].replace('"', "")
        if not places and (typed := _blamed(self.overrides, message, part)):
            place = " ".join(f"--set {override}" for override in typed)
        ends = f" (in {part})" * bool(part) + f"; {self.hint}" * bool(self.hint)
        raise UserError(f"{place}: {message}{ends}") from error


class building(one_line):
    """The same while the parts of a config are built: for errors that a caller can fix, and for values that the config
    lacks.  All other exceptions are bugs, perhaps of the user's own network, and pass."""

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, UsageError | OSError) or "No values supplied by Gin or caller" in str(error):
            super().__exit__(kind, error, trace)


def _plain(message):
    """gin's or Python's message, with a remedy."""
    message = message.removesuffix(".")
    if found := re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", message):
        name = re.split("[./]", found[1])[-1]
        return f"nothing is called {found[1]!r}: {nearest(name, registry.CONFIGURABLES)}"
    if found := re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message):
        part = found[1].split(".")[-1]
        known = f": {nearest(found[2], registry.parameters(part))}" if part in registry.CONFIGURABLES else ""
        return f"{part} has no parameter {found[2]!r}{known}"
    if found := re.search(r"Configurable '([\w.]+)' has denylisted kwarg '(\w+)'", message):
        return f"{found[1].split('.')[-1]}.{found[2]} is filled in by the program, not by a config"
    if message.startswith("macro() missing"):
        return f"a name after % is neither one of {', '.join(registry.CONSTANTS)}, nor defined in the config"
    if "EOF in multi-line" in message:
        return "a bracket or a quote is not closed"
    return f"{message} (set it in the config)" if "missing" in message and "required" in message else message


def _blamed(overrides, message, inside):
    """The overrides that an error is about: it names them, or names a parameter of the part `inside` that they set."""
    return [override for override in overrides if _names(message, inside, override)]


def _names(message, inside, override):
    part, parameter = target(override).split(".")
    value = override.partition("=")[2].strip().strip("'\"")
    own = part == inside and (re.search(rf"\b{parameter}\b", message) or (len(value) > 1 and value in message))
    return bool(own or re.search(rf"\b{part}\.{parameter}\b", message))


def target(override: str) -> str:
    """What an override sets: "adamw.lr" of optimizers.adamw.lr=1e-3."""
    return ".".join(override.partition("=")[0].strip().split(".")[-2:])
