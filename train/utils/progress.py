"""Messages and progress: lines through the logger "fewstep", and a progress bar on a terminal."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

EVERY = 10.0  # seconds between plain progress lines
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
    """Print the messages of the logger "fewstep" on stderr whatever else is configured, as the command line does."""
    if _STDERR not in LOGGER.handlers:
        LOGGER.addHandler(_STDERR)
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)


def say(text: str) -> None:
    """Log a line at level INFO.

    Without a handler on the logger "fewstep" or the root logger, the line is printed on stderr.  To silence it:
    `logging.getLogger("fewstep").setLevel(logging.WARNING)`.
    """
    if _silent:
        return
    if LOGGER.hasHandlers():
        LOGGER.info("%s", text, stacklevel=2)
    elif _prints():
        _STDERR.handle(LOGGER.makeRecord(LOGGER.name, logging.INFO, __file__, 0, "%s", (text,), None))


def _prints() -> bool:
    """Whether this module itself prints: it was asked to, or logging is not configured."""
    enabled = LOGGER.level <= logging.INFO and LOGGER.manager.disable < logging.INFO
    return enabled and (_STDERR in LOGGER.handlers or not LOGGER.hasHandlers())


@contextmanager
def progress(total: int, done: int = 0, unit: str = "steps") -> Iterator[Callable]:
    """Yields update(done, note=""): report that `done` of `total` units are finished, with a short note.

    It is a bar on a terminal, and otherwise a message every 10 seconds (`say`).
    """
    console = Console(file=sys.stderr)
    if console.is_terminal and not _silent and _prints():
        columns = (
            BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"), _Rate(unit),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=console, transient=False) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda now, note="": bar.update(task, completed=now, description=note)
    else:
        yield _plain(total, unit)


class _Rate(ProgressColumn):
    """Recent units per second."""

    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} {self.unit}/s")


def _plain(total, unit):
    """An update function that logs lines; rates are measured from the first update, after compilation."""
    start = None
    last = 0.0

    def update(now, note=""):
        nonlocal start, last
        clock = time.monotonic()
        if start is None:
            start, last = (clock, now), clock
            say(f"{now}/{total} {unit}  {note}")
        elif clock - last >= EVERY or now >= total:
            last = clock
            rate = (now - start[1]) / max(clock - start[0], 1e-9)
            left = (total - now) / rate if rate else 0.0
            say(f"{now}/{total} {unit}  {note}  {rate:.1f} {unit}/s  {left:.0f} s left")

    return update
