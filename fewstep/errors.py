"""Errors that a caller can fix, and the lookup of names that all share."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")


class UsageError(ValueError):
    """An invalid argument, setting or file: the message says what is wrong and what to do.

    The command line prints it as one line.  Any other ValueError is a bug.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'?" if a known name is similar, else the list of known names."""
    known = sorted(known)
    close = get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"


def lookup(kind: str, name: Any, table: Mapping[str, T]) -> T:
    """table[name], or a UsageError that suggests the nearest name."""
    if not isinstance(name, str) or name not in table:
        raise UsageError(f"no {kind} is called {name!r}: {nearest(str(name), table)}")
    return table[name]


def listed(values: Any) -> list:
    """The values as a list; a text, and everything else that cannot be iterated over, is one value."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
