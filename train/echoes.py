"""What the threads of a failed read or write print, after the failure itself has been raised as an error."""

import sys


class Echoes:
    """Holds back every "Event loop is closed" that nobody can catch, from its making until `close`.

    When one file of a checkpoint fails, Orbax raises that failure and closes its event loop; TensorStore's threads,
    still at the other files, then find no loop to report to, and each prints a traceback by sys.unraisablehook.
    """

    def __init__(self):
        self._held = []
        self._failed = False
        self._before, sys.unraisablehook = sys.unraisablehook, self._hook

    def drop(self):
        """They echo an error that is raised now: nothing held is printed, nor what comes until the process ends."""
        self._failed = True
        self._held.clear()

    def close(self):
        """Print what is held, unless `drop` was called."""
        if not self._failed and sys.unraisablehook == self._hook:
            sys.unraisablehook = self._before
        while self._held:
            self._before(self._held.pop(0))

    def _hook(self, unraisable):
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            self._before(unraisable)
        elif not self._failed:
            self._held.append(unraisable)
