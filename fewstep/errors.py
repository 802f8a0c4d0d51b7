"""Errors that a caller can fix."""


class UsageError(ValueError):
    """An invalid argument, setting or file: the message says what is wrong and what to do.

    The command line prints it as one line.  Any other ValueError is a bug.
    """
