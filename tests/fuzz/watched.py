"""The command line, run in this process with an eye on the clock, and what every end of it must be like."""

import contextlib
import io
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

SECONDS = 60


class Late(BaseException):
    """A command did not end in time; no handler of errors takes it for one of the user's."""


class End(NamedTuple):
    """How a command ended."""

    words: list[str]
    status: int
    err: str
    seconds: float

    def wrong(self) -> str | None:
        """What is wrong with it, None if it ended well or with a message for the user."""
        last = (self.err.rstrip().splitlines() or [""])[-1]
        if self.seconds > SECONDS:
            return f"it took {self.seconds:.0f} seconds"
        if "Traceback" in self.err:
            return "it shows a traceback"
        if self.status not in (0, 2):
            return f"its status is {self.status}"
        if self.status == 2 and not last.startswith(("fewstep: ", "╰")):  # typer's own messages are in a box
            return "its last line is no message"
        return None

    def __str__(self) -> str:
        typed = ascii(shlex.join(["fewstep", *self.words]))[1:-1]
        shown = typed if len(typed) < 1000 else f"{typed[:700]} ... {typed[-200:]}"
        return f"{self.wrong()}\n{shown}\nstatus {self.status} after {self.seconds:.1f} s\n{self.err[-3000:]!a}"


def watched(words: list[str], folder: Path) -> End:
    """Run `fewstep` with these words in a folder; Late is raised after SECONDS, or when compiled code returns."""
    from fewstep.cli.main import main

    def late(*_):
        raise Late(f"{SECONDS} seconds are over: {shlex.join(words)[:1000]}")

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)}
    start, status = time.monotonic(), 0
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with (
            contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["fewstep", *words]),
        ):  # fmt: skip
            main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return End(words, status, err.buffer.getvalue().decode(), time.monotonic() - start)
