"""What the threads of a failed read or write print, after the failure itself has been raised as an error."""

import logging
import sys
import warnings


class OrbaxStderrFilter:
    """Holds back what Orbax's and TensorStore's threads print of a failure that is raised as well, until `close`.

    When one file of a checkpoint fails, Orbax raises that failure and leaves its event loop.  The other files that fail
    are then logged by asyncio ("... exception was never retrieved"), and TensorStore's threads, which find no loop to
    report to, each print a traceback by sys.unraisablehook ("Event loop is closed").
    """

    def __init__(self):
        self._held = []
        self._failed = False
        self._logger = logging.getLogger("asyncio")
        self._logger.addFilter(self._log)
        self._before, sys.unraisablehook = sys.unraisablehook, self._hook

    def drop(self):
        """They echo an error that is raised now: nothing held is printed, nor what comes until the process ends."""
        self._failed = True
        self._held.clear()
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)

    def close(self):
        """Print what is held, unless `drop` was called."""
        if self._failed:
            return
        self._logger.removeFilter(self._log)
        if sys.unraisablehook == self._hook:
            sys.unraisablehook = self._before
        for tell, what in self._held:
            tell(what)
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

    def _hold(self, tell, what):
        if not self._failed:
            self._held.append((tell, what))
