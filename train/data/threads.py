"""Work ahead of time, in threads: for decoders, which let go of Python's lock while they work."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

THREADS = min(16, os.cpu_count() or 1)


def in_threads(function, items):
    """Iterator over function(item), in order; close() it where it may be left early."""
    pool, ahead = ThreadPoolExecutor(THREADS), deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) == 8 * THREADS:  # bounds memory; enough that one slow item stops nobody
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
