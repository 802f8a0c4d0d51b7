"""SIGTERM and Ctrl-C as a request to stop: training saves a checkpoint first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yields an event that the first SIGTERM or Ctrl-C sets; a second Ctrl-C ends the process at once.

    On exit, if the event was set, further signals are ignored: the process is about to end.
    """
    event = threading.Event()

    def stop(number, frame):
        if not event.is_set():
            event.set()
            with suppress(OSError):  # stderr may be closed
                os.write(2, b"\nstopping: saving a checkpoint first (Ctrl-C again to stop without saving)\n")
        elif number == signal.SIGINT:
            os._exit(130)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if event.is_set() else handler)


@contextmanager
def terminating() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt as Ctrl-C does, so that the code cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
