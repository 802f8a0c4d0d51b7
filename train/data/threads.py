"""Parallel work in threads, for image decoders, which release the GIL."""

import _thread
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Any

THREADS = min(16, os.cpu_count() or 1)


def in_threads(function: Callable, items: Iterable) -> Generator[Any, None, None]:
    """Yields function(item) in order, computed in threads; call close() when leaving it early.

    Ctrl-C and SIGTERM may interrupt it anywhere.  In the Python code of ThreadPoolExecutor and Thread.start they can
    leave a lock taken, for which other threads wait for ever; SimpleQueue and _thread have no such moment.  Threads end
    after the item they are at, and the interpreter does not wait for them.
    """
    tasks, ahead, ended = SimpleQueue(), deque(), []

    def work():
        while not ended and (task := tasks.get()) is not None:
            item, answer = task
            try:
                answer.put((function(item), None))
            except BaseException as error:
                answer.put((None, error))

    def result():
        found, error = ahead.popleft().get()
        if error is not None:
            raise error
        return found

    try:
        for _ in range(THREADS):
            _thread.start_new_thread(work, ())
        for item in items:
            ahead.append(answer := SimpleQueue())
            tasks.put((item, answer))
            if len(ahead) == 8 * THREADS:  # bounds memory, and hides single slow items
                yield result()
        while ahead:
            yield result()
    finally:
        ended.append(True)
        for _ in range(THREADS):
            tasks.put(None)
