"""Work in threads, for what releases the GIL: image decoders, digests.

Ctrl-C and SIGTERM may interrupt it anywhere.  In the Python code of ThreadPoolExecutor and Thread.start they can leave
a lock taken, for which other threads wait for ever; SimpleQueue and _thread have no such moment.  The interpreter does
not wait for the threads.
"""

import _thread
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Any

THREADS = min(16, os.cpu_count() or 1)


def in_threads(function: Callable, items: Iterable) -> Generator[Any, None, None]:
    """Yields function(item) in order, computed in threads; call close() when leaving it early.

    Threads end after the item they are at.
    """
    tasks, ahead, ended = SimpleQueue(), deque(), []

    def work():
        while not ended and (task := tasks.get()) is not None:
            item, answer = task
            _answer(answer, function, item)

    try:
        for _ in range(THREADS):
            _thread.start_new_thread(work, ())
        for item in items:
            ahead.append(answer := SimpleQueue())
            tasks.put((item, answer))
            if len(ahead) == 8 * THREADS:  # bounds memory, and hides single slow items
                yield _result(ahead.popleft())
        while ahead:
            yield _result(ahead.popleft())
    finally:
        ended.append(True)
        for _ in range(THREADS):
            tasks.put(None)


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Start function() in a thread; the function that is returned waits for its result, and is called once."""
    answer = SimpleQueue()
    _thread.start_new_thread(_answer, (answer, function))
    return lambda: _result(answer)


def _answer(answer, function, *arguments):
    try:
        answer.put((function(*arguments), None))
    except BaseException as error:
        answer.put((None, error))


def _result(answer):
    found, error = answer.get()
    if error is not None:
        raise error
    return found
