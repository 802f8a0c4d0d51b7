"""SIGTERM and Ctrl-C: training saves a checkpoint first, and no Ctrl-C is lost."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def stopping(ends: bool = False) -> Iterator[threading.Event]:
    """Yields an event that the first SIGTERM or Ctrl-C sets; a second Ctrl-C stops without saving.

    On exit the handlers are restored, and a signal that came is delivered again: Ctrl-C raises KeyboardInterrupt, as
    does a SIGTERM that did not end the process.  ends: the process is about to end (the command line): it ends at once
    at a second Ctrl-C, and on exit it ignores further signals instead.  In other threads than the main one, signals
    have no effect here.
    """
    event, received = threading.Event(), []

    def stop(number, frame):
        if not received:
            received.append(number)
            event.set()
            with suppress(OSError):  # stderr may be closed
                os.write(2, b"\nstopping: saving a checkpoint first (Ctrl-C again to stop without saving)\n")
        elif number == signal.SIGINT:
            if ends:
                os._exit(130)
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():  # None: a handler that was not installed from Python
            signal.signal(number, signal.SIG_IGN if ends and received else handler or signal.SIG_DFL)
    if received and not ends:
        signal.raise_signal(received[0])
        raise KeyboardInterrupt


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


def keep_interrupts() -> None:
    """Deliver a Ctrl-C again that comes in a callback of the garbage collector, such as JAX's, where Python drops
    exceptions."""
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _dropped


def _dropped(unraisable):
    if unraisable.exc_type is KeyboardInterrupt:
        _thread.start_new_thread(_interrupt, ())  # threading's locks may be taken here
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt():
    time.sleep(0.01)  # until the callback has ended
    os.kill(os.getpid(), signal.SIGINT)
