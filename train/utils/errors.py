"""What ends a command with one line for the user, and no traceback."""


class RunError(Exception):
    """The message says in one line what is wrong, where, and what to do."""


class CheckpointError(RunError):
    """A checkpoint that cannot be read or written."""


class Diverged(RunError):
    """The loss stayed NaN or infinite."""


class Busy(RunError):
    """Another process is at work in the same folder."""
