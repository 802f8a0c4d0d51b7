"""Images in ArrayRecord shards: dataset.json describes them, and each record is the pixels and the label of one image.

Pixels are uint8 (H, W, C) in C order, the label is little-endian int32.  ArrayRecord stores hashes of its blocks, so
damage is detected when a record is read.
"""

import errno
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.ranges import Seed, checked
from fewstep.train.data.checks import local
from fewstep.train.data.dataset import Dataset, HeldOut, partition
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.sealed import read_json, sealed_json

ABOUT, VERSION = "dataset.json", 1
WRITING = "group_size:1,uncompressed"  # compressing one small image saves nothing
READING: dict[str, Any] = {"options": "readahead_buffer_size:0", "file_reader_buffer_size": 32768}  # random access
AGAIN = "write it again with `fewstep data pack`"


@checked
def array_record(path: str, held_out: HeldOut = 0.1, seed: Seed = 0) -> Dataset:
    """The images of a folder that `fewstep data pack` wrote, read from its ArrayRecord shards on demand.

    held_out is a fraction below 1 or a number of images.  Raises FileNotFoundError or UsageError for missing or damaged
    files.
    """
    folder = local(path)
    about = _about(folder)
    counts, classes = about["shards"], about["classes"]
    files = [folder / name for name in counts]
    readers = [_opened(folder / name, count) for name, count in counts.items()]
    source = _Shards(files, readers, np.cumsum([0, *counts.values()]), tuple(about["shape"]), bool(classes))
    return partition(folder.resolve().name, source, len(classes), held_out, seed, map(str, classes))


@dataclass(frozen=True, eq=False)
class _Shards:
    files: list
    readers: list
    starts: np.ndarray  # index of the first image of each shard, and the total count
    shape: tuple
    labelled: bool
    in_memory = False

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        size = int(np.prod(self.shape))
        rows = np.empty((len(indices), size + 4), np.uint8)
        shards = np.searchsorted(self.starts, indices, side="right") - 1
        for shard in np.unique(shards):
            mine = shards == shard
            wanted = (indices[mine] - self.starts[shard]).tolist()
            try:
                records = b"".join(self.readers[shard].read(wanted))
                rows[mine] = np.frombuffer(records, np.uint8).reshape(len(wanted), -1)
            except (RuntimeError, ValueError):
                raise UsageError(f"{self.files[shard]} is damaged: {AGAIN}") from None
        images = rows[:, :size].reshape(-1, *self.shape)
        return images, rows[:, size:].copy().view("<i4")[:, 0].astype(np.int32) if self.labelled else None


def _about(folder):
    """The validated contents of dataset.json."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder (looked in {folder.absolute().parent}): check the path")
    if not (folder / ABOUT).is_file():
        raise UsageError(f"{folder} has no {ABOUT}: give a folder that `fewstep data pack` wrote")
    about: dict[str, Any] = {}
    try:
        about = read_json(folder / ABOUT)
        version, shape, counts = about["version"], about["shape"], about["shards"].values()
        whole = len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in (*shape, *counts)) and counts
        whole = whole and isinstance(about["classes"], list)
    except (ValueError, TypeError, KeyError, AttributeError):
        version, whole = VERSION, False
    if version != VERSION:
        raise UsageError(f"{folder / ABOUT} has version {version}, which this fewstep does not support: {AGAIN}")
    if not whole:
        raise UsageError(f"{folder / ABOUT} is damaged: {AGAIN}")
    return about


def _opened(file, count):
    """A reader, which is safe to use from several threads."""
    from array_record.python.array_record_module import ArrayRecordReader

    if not file.is_file():
        raise UsageError(f"{file} is missing: copy it again, or {AGAIN}")
    reader = ArrayRecordReader(str(file), **READING)
    if (found := reader.num_records()) != count:  # 0 for any other file
        raise UsageError(f"{file} is truncated or damaged ({found} of {count} images): copy it again, or {AGAIN}")
    return reader


class Writer:
    """Writes images, in order, into shards of `shard_size` images; `finish` completes the data set.

    Raises OSError if writing fails.
    """

    def __init__(self, folder: Path, shard_size: int):
        self.folder, self.shard_size = folder, shard_size
        self.counts: dict[str, int] = {}
        self.shape: tuple = ()
        self._shard: Any = None

    def write(self, pixels: np.ndarray, label: int) -> None:
        """Append an image, uint8 (H, W, C); all images have the same shape."""
        name = f"images-{sum(self.counts.values()) // self.shard_size:05d}.array_record"
        with self._as_os_error():
            if name not in self.counts:
                self._next(name)
            self._shard.write(pixels.tobytes() + int(label).to_bytes(4, "little"))
        self.counts[name] += 1
        self.shape = pixels.shape

    def finish(self, classes: list) -> None:
        """Write dataset.json; classes are the names, empty without labels."""
        with self._as_os_error():
            self._shard.close()
        about = {"version": VERSION, "shape": self.shape, "classes": classes, "shards": self.counts}
        write_atomic(self.folder / ABOUT, sealed_json(about, indent=2))

    def _next(self, name):
        from array_record.python.array_record_module import ArrayRecordWriter

        if self._shard:
            self._shard.close()
        self._shard = ArrayRecordWriter(str(self.folder / name), WRITING)
        self.counts[name] = 0

    @contextmanager
    def _as_os_error(self):
        """Raise ArrayRecord's RuntimeError as an OSError of the folder."""
        try:
            yield
        except RuntimeError as error:
            raise OSError(errno.EIO, str(error).split(";")[0], str(self.folder)) from None
