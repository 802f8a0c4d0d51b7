"""Errors of the user: one line, exit status 2."""

from difflib import get_close_matches

from fewstep.train.utils.errors import RunError


class UserError(RunError):
    """Something typed that the user can put right."""


def nearest(name, known) -> str:
    """ "did you mean 'x'?" where a known name is near, else the list of known names."""
    known = sorted(known)
    close = get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"


def lookup(kind, name, table):
    """table[name], or a UserError that suggests the nearest name."""
    if name not in table:
        raise UserError(f"no {kind} is called {name!r}: {nearest(name, table)}")
    return table[name]


def check_not_given(context, why, *options):
    """UserError where one of the options was typed."""
    for option in options:
        if context.get_parameter_source(option).name == "COMMANDLINE":
            raise UserError(f"{why}: leave --{option} out")
