"""Conversion of a folder of images to a folder of ArrayRecord shards, all or nothing."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from fewstep.errors import UsageError
from fewstep.train.data.records import Writer
from fewstep.train.data.scan import scan
from fewstep.train.utils.files import is_remote, made
from fewstep.train.utils.temporary import sweep, temporary


class Packed(NamedTuple):
    """The result of `pack`."""

    out: Path
    shape: tuple
    images: int
    classes: int
    shards: int


def pack(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    size: int = 32,
    channels: int = 3,
    strict: bool = False,
    shard_size: int = 10_000,
) -> Packed:
    """Write the images of `folder`, decoded and ordered as by `train.data.folder`, for `train.data.array_record`.

    Shows progress.  `out` appears only when complete; an error or Ctrl-C leaves nothing behind.  Raises FileExistsError
    if `out` exists, and FileNotFoundError, UsageError or OSError for an invalid folder or invalid arguments.
    """
    out = Path(out).expanduser()
    if shard_size < 1:
        raise UsageError(f"shard size {shard_size}: it must be at least 1 image")
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already: choose a new folder, or remove it first")
    if not is_remote(folder) and _real(out).is_relative_to(_real(Path(folder).expanduser())):
        raise UsageError(f"{out} is inside {folder}: choose a folder outside of it")
    partial = out.with_name(f"{out.name}.{temporary()}")
    try:
        with made(out.parent):
            sweep(out.parent)
            partial.mkdir()
            try:
                writer = Writer(partial, shard_size)
                found = scan(folder, size, channels, strict, writer.write)
                writer.finish(found.classes)
                partial.rename(out)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    except OSError as error:
        if error.filename and _concerns(partial, Path(error.filename)):
            raise OSError(
                f"{out} cannot be written ({error.strerror}): free some space, or choose another folder"
            ) from None
        raise
    return Packed(out, writer.shape, len(found.files), len(found.classes), len(writer.counts))


def _concerns(partial, file):
    return file == partial or file in partial.parents or partial in file.parents


def _real(path):
    """Without links; Path.resolve raises RuntimeError for links in a circle."""
    return Path(os.path.realpath(path))
