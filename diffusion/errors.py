"""What a caller can put right."""


class UsageError(ValueError):
    """An argument, a setting or a file that does not fit: the message says what is wrong and what to do.

    The command line prints it as one line.  Any other ValueError is a bug.
    """
