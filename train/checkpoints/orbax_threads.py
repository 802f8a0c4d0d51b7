"""Ends the threads of a failed save, for which Python would wait when the process ends."""

import threading
from contextlib import suppress

import jax
from orbax.checkpoint._src.futures import future


def end_waiting() -> None:
    """Wake and cancel the threads of Orbax that wait, for minutes, until others of the same save have done their part.

    Orbax leaves them when one of these others fails.  With several processes nothing is done: the signals are shared.
    """
    if jax.process_count() > 1:
        return
    for thread in threading.enumerate():
        if isinstance(thread, future._SignalingThread):
            with suppress(RuntimeError):  # its event loop is closed
                thread.cancel()
            future.set_signals(thread._receive_signals, operation_id=thread._operation_id)
