"""What is typed after --set."""

import ast
import re

from fewstep.cli import parts
from fewstep.cli.errors import UserError


def quoted(override) -> str:
    """The override as gin reads it.

    What is no literal and no reference is a text, as in --set npz.path=a.npz, and so is all that is given to a
    parameter which takes texts only; 1,2,2 is a tuple.
    """
    name, equals, value = (part.strip() for part in override.partition("="))
    if not equals or not re.fullmatch(r"\w+(\.\w+)+", name) or "\n" in override:
        raise UserError(f"--set {override}: write name.parameter=value")
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return f"{name} = {value if re.match(r'[@%([{]', value) else repr(value)}"
    if not isinstance(literal, str | None) and parts.only_text(*target(override).split(".")):
        return f"{name} = {value!r}"
    return f"{name} = {literal if isinstance(literal, tuple) else value}"


def target(override) -> str:
    """What it sets: "adamw.lr" of optimizers.adamw.lr=1e-3."""
    return ".".join(override.partition("=")[0].strip().split(".")[-2:])


def blamed(overrides, message, inside) -> list[str]:
    """The overrides that an error is about: that it names, or that set what it names of the part `inside`."""
    return [override for override in overrides if _names(message, inside, override)]


def _names(message, inside, override):
    part, parameter = target(override).split(".")
    value = override.partition("=")[2].strip().strip("'\"")
    own = part == inside and (re.search(rf"\b{parameter}\b", message) or (len(value) > 1 and value in message))
    return bool(own or re.search(rf"\b{part}\.{parameter}\b", message))
