"""Errors of runs and files; the command line prints them as one line, without a traceback."""


class RunError(Exception):
    """A run or a file cannot be used.  The message states the problem, the path and the remedy in one line."""


class CheckpointError(RunError):
    """A checkpoint cannot be read or written."""


class Diverged(RunError):
    """The loss was NaN or infinite for too many steps in a row."""


class Busy(RunError):
    """Another process holds the lock of the folder."""
