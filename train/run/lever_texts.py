"""Levers as they are typed: cfg(1.5)."""

import ast
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fewstep.diffusion.denoiser import Lever
from fewstep.errors import UsageError, lookup, nearest


def lever(
    text: str, levers: Mapping[str, Callable[..., Any]], bound: Collection[str] = (), option: str = "lever"
) -> tuple[str, Lever]:
    """ "cfg(1.5)" or "clip_x0" as (name, lever); only literals are allowed in the parentheses.

    UsageError, under the name of the option, for what is not a lever of the registry `levers`, and for settings of
    `bound`, the names that other options set.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name):
            raise ValueError("no name")
        name, arguments = call.func.id, [ast.literal_eval(a) for a in call.args]
        named = {k.arg or "**": ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f'{option} {text!r}: write a name with its settings, such as "cfg(1.5)"') from None
    found = lookup("lever", name, levers)
    _check_settings(f"{option} {text!r}", name, inspect.signature(found, follow_wrapped=False), arguments, named)
    try:
        given = inspect.signature(found).bind_partial(*arguments, **named).arguments
    except TypeError as error:
        raise UsageError(f"{option} {text!r}: {error}") from None
    for parameter in given:
        if f"{name}.{parameter}" in bound:
            raise UsageError(f"{option} {text!r}: {name}.{parameter} is set by --set or --sweep too")
    try:
        return name, found(*arguments, **named)
    except (UsageError, OverflowError) as error:
        raise UsageError(f"{option} {text!r}: {str(error).splitlines()[0]}") from None


def _check_settings(where, name, signature, arguments, named):
    """UsageError for an unknown setting, and for a missing one without a default."""
    for setting in named:
        if setting not in signature.parameters:
            raise UsageError(f"{where}: {name} has no {setting!r}: {nearest(setting, signature.parameters)}")
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty]
    if missing := [p for p in needed[len(arguments) :] if p not in named]:
        shown = ", ".join(needed)
        raise UsageError(f"{where}: {name} needs {' and '.join(missing)}, as in {name}({shown})")
