"""Work in threads: order, errors, and interrupts at any moment."""

import subprocess
import sys
import time

import pytest

from fewstep.train.utils.threads import THREADS, in_thread, in_threads


def test_results_come_in_order_whatever_takes_long():
    def slow(i):
        time.sleep(0.02 * (i % 5 == 0))
        return i * i

    count = 20 * THREADS
    assert list(in_threads(slow, range(count))) == [i * i for i in range(count)]


def test_no_more_is_taken_than_is_worked_on_ahead():
    taken = []
    found = in_threads(lambda i: i, (taken.append(i) or i for i in range(1000)))
    assert next(found) == 0
    assert len(taken) == 8 * THREADS
    found.close()
    assert len(taken) == 8 * THREADS


def test_an_error_is_that_of_its_item():
    found = in_threads(lambda i: 6 // i, [3, 2, 0, 1])
    assert [next(found), next(found)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_one_result_or_error_is_waited_for():
    assert in_thread(lambda: time.sleep(0.05) or 7)() == 7
    failing = in_thread(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failing()


# An interrupt at the k-th line that the main thread runs, of ours or of the library, for every k until all is done.
INTERRUPTED = """
import sys
import threading
from fewstep.train.utils.threads import in_threads

OURS = ("threads.py", "threading.py", "queue.py", "thread.py", "_base.py")


def interrupted(k):
    left = [k]

    def trace(frame, event, argument):
        if frame.f_code.co_filename.endswith(OURS) and event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        found = list(in_threads(abs, range(-3, 0)))
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    assert found == [3, 2, 1]
    return False


k = 1
while interrupted(k):
    k += 1
assert k > 20
print("all", k)
"""


def test_an_interrupt_at_any_moment_ends_it():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("all")
