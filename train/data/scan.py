"""Listing the images of a folder; each is decoded once to find bad files."""

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fewstep.errors import UsageError
from fewstep.ranges import checked_as
from fewstep.train.data.checks import local
from fewstep.train.data.decode import MOST_PIXELS, BadImage, Channels, Pixels, Side, decode, extensions
from fewstep.train.utils.messages import say
from fewstep.train.utils.progress import progress
from fewstep.train.utils.threads import in_threads

NAMED = 5  # bad files listed in a message
IGNORED = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # in addition to hidden files


class Found(NamedTuple):
    """The valid images, sorted by class and name."""

    root: Path
    files: list  # paths relative to root, with "/"
    labels: list  # class indices; all 0 without classes
    classes: list  # names of the classes; empty without classes


@checked_as("folder")
def scan(
    path: str | os.PathLike,
    size: Side,
    channels: Channels,
    strict: bool,
    use: Callable | None = None,
    max_pixels: Pixels = MOST_PIXELS,
) -> Found:
    """Decode every image under `path`, in order, and call use(pixels, label) for each if given.

    All images must be in the folder itself, or all in subfolders at any depth: with two or more subfolders each is a
    class, and a single one is descended into.  Files that are not images are logged and skipped, or raise UsageError if
    `strict`.  Raises FileNotFoundError or UsageError for an invalid folder.
    """
    root = _existing(path)
    names, bad, found = _listed(root), [], Found(root, [], [], [])
    above = _above(names)
    decoded = partial(_decoded, root, size=size, channels=channels, max_pixels=max_pixels)
    with progress(len(names), unit="files") as show, closing(in_threads(decoded, names)) as pixels:
        for done, (name, result) in enumerate(zip(names, pixels, strict=True), 1):
            if isinstance(result, BadImage):
                bad.append(f"{name} ({result})")
            else:
                _add(found, name, above)
                if use:
                    use(result, found.labels[-1])
            if done % 16 == 0 or done == len(names):
                show(done)
    if not found.files:
        raise UsageError(f"{root} has no images: {_counted(bad) if bad else 'there are no files'}")
    if bad and strict:
        raise UsageError(
            f"{root}: of {len(names)} files {_counted(bad)}: remove them, or skip them without --strict "
            f"(folder.strict = False)"
        )
    if bad:
        say(f"{root}: skipped {len(bad)} of {len(names)} files: {_some(bad)}")
    return found if len(found.classes) > 1 else found._replace(classes=[])


def _existing(path):
    root = local(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder (looked in {root.absolute().parent}): check the path")
    if not root.is_dir():
        raise UsageError(f"{root} is a file: give the folder with the images")
    return root


def _listed(root):
    """Relative paths of all files that are not hidden, grouped by folder; symbolic links are followed once."""

    def stop(error):
        raise error

    names, visited = [], set()
    for folder, inner, files in os.walk(root, onerror=stop, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            inner.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        inner[:] = sorted(name for name in inner if not _hidden(name))
        below = Path(folder).relative_to(root)
        names += [(below / name).as_posix() for name in files if not _hidden(name)]
    return sorted(names, key=lambda name: name.split("/"))


def _hidden(name):
    return name.startswith(".") or name in IGNORED


def _decoded(root, name, **form):
    """The pixels, or the BadImage error."""
    try:
        return decode(root / name, **form)
    except BadImage as error:
        return error


def _above(names):
    """The common parent folder of all images, such as "train/"; "" if there is none."""
    known = extensions()
    images = [name for name in names if PurePosixPath(name).suffix.lower() in known] or names
    shared = os.path.commonpath([os.path.dirname(name) for name in images]) if images else ""
    return f"{shared}/" if shared else ""


def _add(found, name, above):
    """Add a valid image; files are sorted by class, so a new first folder (under `above`) is a new class."""
    top, below, _ = name.removeprefix(above).partition("/")
    if found.files and bool(below) != ("/" in found.files[-1].removeprefix(above)):
        one, other = sorted((name, found.files[-1]), key=lambda name: "/" in name)
        raise UsageError(
            f"{found.root} has images both at its top level ({one}) and in subfolders ({other}): put all images into "
            f"subfolders of their classes, or none"
        )
    if below and found.classes[-1:] != [top]:
        found.classes.append(top)
    found.files.append(name)
    found.labels.append(max(len(found.classes) - 1, 0))


def _counted(bad):
    return f"{len(bad)} cannot be read: {_some(bad)}"


def _some(bad):
    return ", ".join(bad[:NAMED]) + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")
