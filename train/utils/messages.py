"""Messages as lines through the logger "fewstep"."""

import logging
import sys
from typing import TextIO

LOGGER = logging.getLogger("fewstep")


class _StderrHandler(logging.StreamHandler):
    """Prints the bare message to the current sys.stderr; errors of a closed pipe are ignored, so training continues."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


_STDERR = _StderrHandler()
_silent = False


def silence() -> None:
    """Print nothing more in this process; with several processes, only the main one reports."""
    global _silent
    _silent = True


def log_to_stderr() -> None:
    """Print the messages of the logger "fewstep" on stderr regardless of other configuration, as the command line does.

    They do not propagate to the root logger, to which absl adds a handler when Orbax is imported.
    """
    if _STDERR not in LOGGER.handlers:
        LOGGER.addHandler(_STDERR)
    LOGGER.propagate = False
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)


def say(text: str) -> None:
    """Log a line at level INFO.

    If logging is not configured, the line is printed on stderr.  `logging.getLogger("fewstep")` silences it by
    setLevel(logging.WARNING), and redirects it by addHandler(...) and setLevel(logging.INFO).
    """
    if _silent:
        return
    if _configured():
        LOGGER.info("%s", text, stacklevel=2)
    elif _enabled():
        _STDERR.handle(LOGGER.makeRecord(LOGGER.name, logging.INFO, __file__, 0, "%s", (text,), None))


def _configured() -> bool:
    """Whether the logger has a handler, or the root logger has one and another level than the default.

    Handlers of the root logger at the default level do not count: absl adds one when Orbax is imported.
    """
    root = LOGGER.propagate and logging.root.handlers and logging.root.level != logging.WARNING
    return bool(LOGGER.handlers or root)


def _enabled() -> bool:
    return LOGGER.level <= logging.INFO and LOGGER.manager.disable < logging.INFO


def prints() -> bool:
    """Whether messages are printed on stderr by this module."""
    return not _silent and _enabled() and (_STDERR in LOGGER.handlers or not _configured())
