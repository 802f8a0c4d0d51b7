"""User errors: one line, exit status 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from fewstep.train.utils.errors import RunError

if TYPE_CHECKING:
    import typer

T = TypeVar("T")


class UserError(RunError):
    """A mistake on the command line that the user can fix."""


def nearest(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'?" if a known name is similar, else the list of known names."""
    known = sorted(known)
    close = get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """table[name], or a UserError that suggests the nearest name."""
    if name not in table:
        raise UserError(f"no {kind} is called {name!r}: {nearest(name, table)}")
    return table[name]


def check_not_given(context: typer.Context, why: str, *options: str) -> None:
    """UserError if one of the options was given."""
    for option in options:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise UserError(f"{why}: leave --{option} out")
