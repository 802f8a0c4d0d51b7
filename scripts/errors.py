"""Errors of the user: one line, exit status 2."""

import difflib


class UserError(Exception):
    """Something the user can put right; the message is one line that says what, where and how."""


def nearest(name, known) -> str:
    """ ", did you mean 'x'?" where a known name is near, else the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"


def lookup(kind, name, table):
    """table[name], or a UserError that suggests the nearest name."""
    if name not in table:
        raise UserError(f"no {kind} is called {name!r}: {nearest(name, table)}")
    return table[name]
