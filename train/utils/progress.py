"""Progress: a bar on a terminal, and a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from fewstep.train.utils.messages import prints, say

EVERY = 10.0  # seconds between plain progress lines


@contextmanager
def progress(total: int, done: int = 0, unit: str = "steps") -> Iterator[Callable]:
    """Yields update(done, note=""): report that `done` of `total` units are finished, with a short note.

    It is a bar on a terminal, and otherwise a message every 10 seconds (`say`).
    """
    console = Console(file=sys.stderr)
    if console.is_terminal and prints():
        columns = (
            BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"), _Rate(unit),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=console, transient=False) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda now, note="": bar.update(task, completed=now, description=note)
    else:
        yield _plain(total, unit)


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
            say(f"{now}/{total} {unit}  {note}  {rate:.1f} {unit}/s  {duration(left)} left")

    return update
