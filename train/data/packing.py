"""A folder of images -> a folder of ArrayRecord shards, whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from train.data.records import Writer
from train.data.scan import scan


class Packed(NamedTuple):
    """What was written."""

    out: Path
    shape: tuple
    images: int
    classes: int
    shards: int


def pack(folder, out, size=32, channels=3, strict=False, shard_size=10_000) -> Packed:
    """Write the images of `folder`, as `train.data.folder` reads them and in its order, for `train.data.array_record`.

    Shows progress on stderr.  `out` appears when all is written; an error or Ctrl-C leaves nothing.  FileExistsError
    where `out` exists; FileNotFoundError, ValueError or OSError for a folder or numbers that will not do.
    """
    out = Path(out).expanduser()
    if shard_size < 1:
        raise ValueError(f"shard size {shard_size}: ask for at least 1 image")
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already: give a new folder, or remove it first")
    partial = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    partial.mkdir(parents=True)
    try:
        writer = Writer(partial, shard_size)
        found = scan(folder, size, channels, strict, writer.write)
        writer.finish(found.classes)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Packed(out, writer.shape, len(found.files), len(found.classes), len(writer.counts))
