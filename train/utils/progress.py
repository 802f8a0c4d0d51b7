"""Progress: a bar on a terminal, and a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from fewstep.train.utils.messages import prints, say

QUIET = 2.0  # seconds before progress is shown
EVERY = 10.0  # seconds between plain progress lines
_shown = False  # in this process, so that one within another shows nothing


@contextmanager
def progress(
    total: int, done: int = 0, unit: str = "steps", note: str = "", after: float = QUIET
) -> Iterator[Callable[..., None]]:
    """Yields update(done, note=""): report that `done` of `total` units are finished, with a short note.

    It is a bar on a terminal, and otherwise a message every 10 seconds (`say`).  It appears after `after` seconds, with
    the first `note` until then.  Within another progress nothing is shown.
    """
    global _shown
    if _shown:
        yield lambda now, note="": None
        return
    console = Console(file=sys.stderr)
    kind = _Bar if console.is_terminal and prints() else _Lines
    here, _shown = kind(console, total, done, unit, note), True
    timer = Timer(after, here.begin)
    timer.daemon = True
    try:
        if after:
            timer.start()
        else:
            here.begin()
        yield here.update
    finally:
        _shown = False
        timer.cancel()
        try:
            if after:
                timer.join()
        finally:
            here.end()


class _Bar:
    """A bar of rich."""

    def __init__(self, console: Console, total: int, done: int, unit: str, note: str):
        columns = (
            BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"), _Rate(unit),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console, transient=False)
        self._task = self._bar.add_task(note, total=total, completed=done)

    def begin(self) -> None:
        self._bar.start()

    def update(self, now: int, note: str = "") -> None:
        self._bar.update(self._task, completed=now, description=note)

    def end(self) -> None:
        self._bar.stop()


class _Lines:
    """Messages; rates are measured from the first update, after compilation."""

    def __init__(self, console: Console, total: int, done: int, unit: str, note: str):
        self._total, self._unit, self._at = total, unit, (done, note)
        self._first: tuple[float, int] | None = None
        self._last: float | None = None  # when the last line was printed

    def begin(self) -> None:
        self._say(time.monotonic(), "")

    def update(self, now: int, note: str = "") -> None:
        clock, first, self._at = time.monotonic(), self._first, (now, note)
        if first is None:
            self._first = clock, now
        if self._last is None:
            return
        if first is None:
            self._say(clock, "")
        elif clock - self._last >= EVERY or now >= self._total:
            rate = (now - first[1]) / max(clock - first[0], 1e-9)
            left = (self._total - now) / rate if rate else 0.0
            self._say(clock, f"  {rate:.1f} {self._unit}/s  {duration(left)} left")

    def end(self) -> None:
        pass

    def _say(self, clock, speed):
        now, note = self._at
        say(f"{now}/{self._total} {self._unit}{'  ' * bool(note)}{note}{speed}")
        self._last = clock


def duration(seconds: float) -> str:
    """A time in its two largest units: "12 s", "3 min 20 s", "2 h 5 min", "4 d 23 h"."""
    seconds = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // smaller} {name}"
    return f"{seconds} s"


class _Rate(ProgressColumn):
    """Recent units per second."""

    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} {self.unit}/s")
