"""Batches of what lies on a disk, read ahead: errors, and the end of the process."""

import subprocess
import sys

import image_files
import pytest
from refused import message

from fewstep.train.data import Batches, folder

LEAVE = """
import sys
from fewstep.train.data import Batches, folder
stream = Batches(folder(sys.argv[1], size=8).train, 4).stream(0, 1000)
print(next(stream).image.shape)
"""


def test_a_file_that_is_gone_is_named_at_its_batch(tmp_path):
    paths = image_files.write(tmp_path)
    batches = Batches(folder(tmp_path, size=8, held_out=4).train, 5)
    gone = tmp_path / batches.split.source.names[batches.split.index[0]]
    paths[paths.index(gone)].unlink()
    stream = batches.stream(0, 4)
    text = message(lambda: list(stream))
    assert text.startswith(f"{gone}: no such file")
    assert "restore it" in text
    with pytest.raises(StopIteration):  # closed by its error
        next(stream)


def test_a_process_may_end_in_the_middle(tmp_path):
    image_files.write(tmp_path)
    command = [sys.executable, "-c", LEAVE, tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(4, 8, 8, 3)\n", "")
