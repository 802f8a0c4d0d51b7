"""The images of a folder: listed, each decoded once to see that it can be, what cannot named."""

import os
import time
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.checks import local
from fewstep.train.data.decode import BadImage, check_form, decode, extensions
from fewstep.train.data.threads import in_threads
from fewstep.train.utils.progress import progress, say

QUIET = 2.0  # seconds before progress is shown
NAMED = 5  # bad files named in a message
IGNORED = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # besides what begins with a dot


class Found(NamedTuple):
    """Good images in the order of their classes and names."""

    root: Path
    files: list  # paths relative to root, with "/"
    labels: list  # class indices, all 0 where there are no classes
    classes: list  # names of the classes; empty where there are none


def scan(path, size, channels, strict, use=None) -> Found:
    """Every image under `path`, each given to use(pixels, label) if there is that, in order.

    Images lie all in the folder itself, or all in its sub-folders at any depth: of two or more, each is a class; of a
    single one, what is in it counts.  Files that are no images are named on stderr and skipped, or refused where
    `strict`.  FileNotFoundError or UsageError say what the folder is instead.
    """
    check_form(size, channels)
    root = _existing(path)
    names, bad, found = _listed(root), [], Found(root, [], [], [])
    above, show, begin = _above(names), None, time.monotonic()
    with ExitStack() as stack, closing(in_threads(lambda name: _tried(root / name, size, channels), names)) as tried:
        for done, (name, result) in enumerate(zip(names, tried, strict=True), 1):
            if isinstance(result, BadImage):
                bad.append(f"{name} ({result})")
            else:
                _add(found, name, above)
                if use:
                    use(result, found.labels[-1])
            if show is None and (use or time.monotonic() - begin >= QUIET):
                show = stack.enter_context(progress(len(names), unit="files"))
            if show and (done % 16 == 0 or done == len(names)):
                show(done)
    if not found.files:
        raise UsageError(f"{root} holds no image: {_counted(bad) if bad else 'there are no files'}")
    if bad and strict:
        raise UsageError(
            f"{root}: of {len(names)} files {_counted(bad)}: remove them, or skip them by doing without --strict "
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
    """Relative paths of all files that are not hidden, a class beside a class; links are followed, once."""

    def stop(error):
        raise error

    names, seen = [], set()
    for folder, inner, files in os.walk(root, onerror=stop, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            inner.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        inner[:] = sorted(name for name in inner if not _hidden(name))
        below = Path(folder).relative_to(root)
        names += [(below / name).as_posix() for name in files if not _hidden(name)]
    return sorted(names, key=lambda name: name.split("/"))


def _hidden(name):
    return name.startswith(".") or name in IGNORED


def _tried(file, size, channels):
    try:
        return decode(file, size, channels)
    except BadImage as error:
        return error


def _above(names):
    """The folders that all images are in, by the names of the files, such as "train/"; "" where there is none."""
    known = extensions()
    images = [name for name in names if PurePosixPath(name).suffix.lower() in known] or names
    shared = os.path.commonpath([os.path.dirname(name) for name in images]) if images else ""
    return f"{shared}/" if shared else ""


def _add(found, name, above):
    """A good image: files come a class after a class, so a new first folder (under `above`) is a new class."""
    top, below, _ = name.removeprefix(above).partition("/")
    if found.files and bool(below) != ("/" in found.files[-1].removeprefix(above)):
        one, other = sorted((name, found.files[-1]), key=lambda name: "/" in name)
        raise UsageError(
            f"{found.root} has images both at its top ({one}) and in sub-folders ({other}): put every image into the "
            f"sub-folder of its class, or none"
        )
    if below and found.classes[-1:] != [top]:
        found.classes.append(top)
    found.files.append(name)
    found.labels.append(max(len(found.classes) - 1, 0))


def _counted(bad):
    return f"{len(bad)} cannot be read: {_some(bad)}"


def _some(bad):
    return ", ".join(bad[:NAMED]) + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")
