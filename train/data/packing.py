"""A folder of images -> a folder of ArrayRecord shards, whole or not at all."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.records import Writer
from fewstep.train.data.scan import scan
from fewstep.train.utils.files import is_remote


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
    where `out` exists; FileNotFoundError, UsageError or OSError for a folder or numbers that will not do.
    """
    out = Path(out).expanduser()
    if shard_size < 1:
        raise UsageError(f"shard size {shard_size}: ask for at least 1 image")
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already: give a new folder, or remove it first")
    if not is_remote(folder) and out.resolve().is_relative_to(Path(folder).expanduser().resolve()):
        raise UsageError(f"{out} lies in {folder} itself: give a folder outside of it")
    partial = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    above = [parent for parent in partial.parents if not parent.exists()]
    try:
        partial.mkdir(parents=True)
        writer = Writer(partial, shard_size)
        found = scan(folder, size, channels, strict, writer.write)
        writer.finish(found.classes)
        partial.rename(out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in above:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and error.filename and _concerns(partial, Path(error.filename)):
            raise OSError(f"{out} cannot be written ({error.strerror}): make room, or give another place") from None
        raise
    return Packed(out, writer.shape, len(found.files), len(found.classes), len(writer.counts))


def _concerns(partial, file):
    return file == partial or file in partial.parents or partial in file.parents
