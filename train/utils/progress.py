"""Progress: a bar where there is a terminal, a line now and then where there is none."""

import sys
import time
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

EVERY = 10.0  # seconds between plain lines


_silent = False


def silence():
    """Say nothing more in this process: of several, the first one speaks."""
    global _silent
    _silent = True


def say(text) -> None:
    """A line on stderr, if anybody is reading: a closed pipe ends no training."""
    if _silent:
        return
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(total, done=0, unit="steps"):
    """Yields update(done, note): what is done so far out of `total`, and a short text."""
    console = Console(file=sys.stderr)
    if console.is_terminal and not _silent:
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
    """Units a second, of late."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit

    def render(self, task):
        return Text("" if task.speed is None else f"{task.speed:.1f} {self.unit}/s")


def _plain(total, unit):
    """Rates are counted from the first update, which comes after everything is compiled."""
    begin = last = None

    def update(now, note=""):
        nonlocal begin, last
        clock = time.monotonic()
        if begin is None:
            begin, last = (clock, now), clock
            say(f"{now}/{total} {unit}  {note}")
        elif clock - last >= EVERY or now >= total:
            last = clock
            rate = (now - begin[1]) / max(clock - begin[0], 1e-9)
            left = (total - now) / rate if rate else 0.0
            say(f"{now}/{total} {unit}  {note}  {rate:.1f} {unit}/s  {left:.0f} s left")

    return update
