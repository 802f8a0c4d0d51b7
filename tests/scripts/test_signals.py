"""A Ctrl-C is not lost in a callback of the garbage collector."""

import subprocess
import sys

INTERRUPTED = """
import gc
import signal
import time
from fewstep.cli import signals

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs, which tests may be
signals.keep_interrupts()


def callback(phase, info):
    gc.callbacks.remove(callback)
    signal.raise_signal(signal.SIGINT)
    time.sleep(0)  # Python raises KeyboardInterrupt here at the latest, and drops it


gc.callbacks.append(callback)
try:
    gc.collect()
    print("dropped", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("delivered")
"""


def test_an_interrupt_that_python_drops_is_delivered_again():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("dropped\ndelivered\n", "")
