"""Parallel work in threads, for image decoders, which release the GIL."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = min(16, os.cpu_count() or 1)


def in_threads(function: Callable, items: Iterable) -> Generator[Any, None, None]:
    """Yields function(item) in order, computed in threads; call close() when leaving it early."""
    pool, ahead = ThreadPoolExecutor(THREADS), deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) == 8 * THREADS:  # bounds memory, and hides single slow items
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
