"""User errors: one line, exit status 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewstep.train.utils.errors import RunError

if TYPE_CHECKING:
    import typer


class UserError(RunError):
    """A mistake on the command line that the user can fix."""


def check_not_given(context: typer.Context, why: str, *options: str) -> None:
    """UserError if one of the options was given."""
    for option in options:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise UserError(f"{why}: leave --{option} out")
