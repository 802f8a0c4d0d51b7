"""Errors that a caller can fix, and the checks of names and numbers that all share."""

import operator
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")
MOST_CALLS, MOST_IMAGES = 10_000, 1_000_000  # larger numbers are taken for typing errors


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


def within(number: Any, what: str, least: int, most: int) -> int:
    """The number, if it is whole and from `least` to `most`; UsageError otherwise."""
    try:
        whole = operator.index(number)
    except TypeError:
        raise UsageError(f"{what} {number!r}: it must be a whole number") from None
    if not least <= whole <= most:
        raise UsageError(f"{what} {number}: it must be at least {least} and at most {most}")
    return whole


def listed(values: Any) -> list:
    """The values as a list; a text, and everything else that cannot be iterated over, is one value."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
