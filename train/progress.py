"""Progress: a bar where there is a terminal, a line now and then where there is none."""

import sys
import time
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 10.0  # seconds between plain lines


@contextmanager
def progress(total, done=0, unit="steps"):
    """Yields update(done, note): what is done so far out of `total`, and a short text."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        columns = (
            BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=console, transient=False) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda now, note="": bar.update(task, completed=now, description=note)
    else:
        yield _plain(total, done, unit)


def _plain(total, done, unit):
    begin = last = time.monotonic()

    def update(now, note=""):
        nonlocal last
        clock = time.monotonic()
        if clock - last >= EVERY or now >= total:
            last = clock
            left = (clock - begin) / max(now - done, 1) * (total - now)
            print(f"{now}/{total} {unit}  {note}  {left:.0f} s left", file=sys.stderr, flush=True)

    return update
