"""The one thread that draws, so that the server stays free to answer."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, NamedTuple

MOST_WAITING = 16


class Superseded(Exception):
    """A newer request has taken the place of this one."""


class Full(Exception):
    """Too many requests are waiting."""


class Job(NamedTuple):
    """Work to do, and where its result goes."""

    work: Callable[[Callable[[], bool]], Any]  # called with a function that tells whether it is superseded
    future: Future


class Worker:
    """Draws one request after another.  Of each key only the newest request is kept."""

    def __init__(self) -> None:
        self._changed, self._waiting, self._now, self._ended = Condition(), {}, None, False
        self._thread = Thread(target=self._work, name="play", daemon=True)
        self._thread.start()

    def submit(self, key: Any, work: Callable[[Callable[[], bool]], Any]) -> Future:
        """The future of work(is_superseded), which ends with Superseded when the key is used again.  Raises Full."""
        with self._changed:
            if self._ended or (len(self._waiting) >= MOST_WAITING and key not in self._waiting):
                raise Full
            for one in (self._waiting.get(key), self._now and self._now[0] == key and self._now[1]):
                self._supersede(one)
            self._waiting[key] = Job(work, Future())  # a key that waits keeps its place
            self._changed.notify()
            return self._waiting[key].future

    def state(self) -> dict[str, Any]:
        """{"busy": whether something is drawn, "waiting": how many requests wait}."""
        with self._changed:
            return {"busy": self._now is not None, "waiting": len(self._waiting)}

    def end(self) -> None:
        """Supersede all requests and take no more; what is being drawn ends after its batch."""
        with self._changed:
            self._ended = True
            for one in (*self._waiting.values(), self._now and self._now[1]):
                self._supersede(one)
            self._waiting.clear()
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; returns whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _supersede(self, job):
        if job and not job.future.done():
            job.future.set_exception(Superseded())

    def _work(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if self._ended:
                    return
                key = next(iter(self._waiting))
                self._now = key, (job := self._waiting.pop(key))
            result = error = None
            try:
                result = job.work(job.future.done)
            except Exception as raised:
                error = raised
            with self._changed:
                self._now = None
                if job.future.done():
                    continue
                if error is None:
                    job.future.set_result(result)
                else:
                    job.future.set_exception(error)
