"""A file as bytes that are read from disk where they are used."""

import mmap
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from etils import epath

from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import is_remote, open_file
from fewstep.train.utils.memory import amount, free_memory

MOST_STEPS = 1_000_000  # to make values from a file: one of 5000 arrays takes 200,000
MOST_TEXT = 256 << 20  # bytes that texts take in memory, up to 4 for a character; a sparse file may hold any number
MOST_COPIES = 512 << 20
SMALL = 64  # bytes of a text that is not counted, since its step is; longer bytes stay in the file


@dataclass
class Budget:
    """What may still be done to open a file: steps, bytes copied, and bytes of texts.

    A short file can ask for endless work, and one with holes is as long as it likes.
    """

    copies: int
    steps: int = MOST_STEPS
    texts: int = MOST_TEXT


class Source(NamedTuple):
    """A file, or a part of one: where it is, for messages, its bytes, and what may be done to open it."""

    path: epath.PathLike
    data: memoryview
    budget: Budget

    def damaged(self, reason: str) -> Damaged:
        """The error that names the file."""
        return Damaged(self.path, reason)

    def part(self, start: int, size: int) -> memoryview:
        """`size` bytes from `start` on; Damaged if the file ends before."""
        if not 0 <= start <= start + size <= len(self.data):
            raise self.damaged("is cut off: fetch it again")
        return self.data[start : start + size]

    def step(self, count: int = 1) -> None:
        """Count steps; Damaged if there were too many."""
        self.budget.steps -= count
        if self.budget.steps < 0:
            raise self.damaged(f"is not opened: it takes more than {MOST_STEPS} steps, as no weights do")

    def copy(self, size: int) -> None:
        """Count bytes that are copied; Damaged if they are more than the file has, or than MOST_COPIES."""
        self.budget.copies -= size
        if self.budget.copies < 0:
            raise self.damaged("is not opened: it makes far more data than it holds, or than weights do beside arrays")

    def text(self, data: bytes | memoryview, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The bytes as a text, counted; Damaged if the texts take too much memory, UnicodeDecodeError if it is none."""
        made = str(data, encoding, errors)
        if len(data) > SMALL:
            self.budget.texts -= sys.getsizeof(made)
        if self.budget.texts < 0:
            raise self.damaged(f"is not opened: its texts take more than {MOST_TEXT} bytes, as in no weights")
        return made


def contents(path: epath.PathLike) -> Source:
    """The bytes of a regular file, mapped; those of a file in a bucket are fetched.

    Raises Damaged if it cannot be read, is empty, or (in a bucket) does not fit into memory.  While the bytes are in
    use, the file may be replaced or removed, but not shortened.
    """
    try:
        if is_remote(path):
            _check_fits(path)
        with open_file(path) as file:
            if is_remote(path):
                data = memoryview(file.read())
            elif os.fstat(file.fileno()).st_size:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            else:
                data = memoryview(b"")
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror or error})") from None
    if not len(data):
        raise Damaged(path, "is empty: fetch it again")
    return Source(path, data, Budget(min(len(data) + (1 << 20), MOST_COPIES)))


def let_go(arrays: Iterable[np.ndarray]) -> None:
    """Give the memory of the mapped files that arrays are views of back to the system; they are read again if used."""
    for file in {id(file): file for file in map(_file_of, arrays) if file is not None}.values():
        if hasattr(file, "madvise"):  # not on Windows
            file.madvise(mmap.MADV_DONTNEED)


def _file_of(view):
    """The mapped file that an array is a view of, or None."""
    while isinstance(view, np.ndarray):
        view = view.base
    return view if isinstance(view, mmap.mmap) else None


def _check_fits(path):
    size, free = epath.Path(path).stat().length, free_memory()
    if size > free:
        raise Damaged(path, f"takes {amount(size)}, and {amount(free)} of memory are free: copy it to this machine")


def quoted(value: object) -> str:
    """A text from a file as it stands in a message: in quotes, on one line, not too long."""
    text = str(value)
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")
