"""Errors of runs and files, which a caller can fix: the command line prints them as one line, without a traceback."""

from fewstep.errors import UsageError


class RunError(UsageError):
    """A run or a file cannot be used.  The message states the problem, the path and the remedy in one line."""


class CheckpointError(RunError):
    """A checkpoint cannot be read or written."""


class Diverged(RunError):
    """The loss was NaN or infinite for too many steps in a row."""


class Busy(RunError):
    """Another process holds the lock of the folder."""


class Damaged(RunError):
    """A file is not what it should be; the message is its path and `reason`, such as "is damaged (line 3)"."""

    def __init__(self, path: object, reason: str):
        super().__init__(f"{path} {reason}")
        self.reason = reason
