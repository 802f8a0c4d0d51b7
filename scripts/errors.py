"""Errors of the user: one line, exit status 2."""

from difflib import get_close_matches

from fewstep.train.errors import RunError


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


def refuse_given(context, why, *options):
    """UserError where one of the options was typed."""
    for option in options:
        if context.get_parameter_source(option).name == "COMMANDLINE":
            raise UserError(f"{why}: leave --{option} out")


def explained(error) -> str | None:
    """What to tell the user of an error: of our own, of values (ValueError), of files; None for a bug."""
    from fewstep.cli import distributed

    if distributed.broken(error):
        return distributed.explained(error)
    if type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"out of memory on the device ({str(error).splitlines()[0][:150]}): train with a larger train.accumulate, "
            f"a smaller train.batch_size, or the other means of docs/scale.md; compare with a smaller --batch"
        )
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): ask for fewer images, or for other features"
    return str(error) if isinstance(error, RunError | ValueError | OSError) else None
