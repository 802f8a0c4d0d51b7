"""Filters what Orbax's threads print about a failed read or write that is also raised as an error."""

import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any


class OrbaxStderrFilter:
    """Holds back, until `close`, what Orbax's and TensorStore's threads print about a failure.

    When one file of a checkpoint fails, Orbax raises that error and closes its event loop.  asyncio then logs the
    errors of the other files ("... exception was never retrieved"), and each thread of TensorStore, without a loop to
    report to, prints a traceback through sys.unraisablehook ("Event loop is closed").
    """

    def __init__(self):
        self._held: list[tuple[Callable, Any]] = []
        self._failed = False
        self._logger = logging.getLogger("asyncio")
        self._logger.addFilter(self._log)
        self._before, sys.unraisablehook = sys.unraisablehook, self._hook

    def drop(self) -> None:
        """Discard everything held, and everything until the process ends: the error is raised instead."""
        self._failed = True
        self._held.clear()
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)

    def close(self) -> None:
        """Print everything held, unless `drop` was called."""
        if self._failed:
            return
        self._logger.removeFilter(self._log)
        if sys.unraisablehook == self._hook:
            sys.unraisablehook = self._before
        for emit, item in self._held:
            emit(item)
        self._held.clear()

    def _hook(self, unraisable):
        error = unraisable.exc_value
        if unraisable.object is None and isinstance(error, RuntimeError) and str(error) == "Event loop is closed":
            self._hold(self._before, unraisable)
        else:
            self._before(unraisable)

    def _log(self, record):
        text = record.getMessage()
        echo = "exception was never retrieved" in text and ("orbax" in text or "OCDBT" in text)
        if echo:
            self._hold(self._logger.handle, record)
        return not echo

    def _hold(self, emit, item):
        if not self._failed:
            self._held.append((emit, item))
