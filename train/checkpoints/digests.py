"""SHA-256 of every file of a checkpoint: Orbax does not checksum its data, and restores flipped bits silently."""

import json
import os

from etils import epath

from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.hashing import file_sha256

NAME = "digests.json"


def write(folder) -> None:
    """Write the digests of all files of the folder's items (its sub-folders) into its digests.json.

    The files directly in it are Orbax's notes on the step, which it goes on updating.
    """
    folder = epath.Path(folder)
    digests = {name: file_sha256(folder / name) for name in _files(folder)}
    write_atomic(folder / NAME, json.dumps(digests, indent=0, sort_keys=True) + "\n")


def fault(folder) -> str | None:
    """What is not as digests.json says, such as "ema/d/1f is missing"; None where all is."""
    folder = epath.Path(folder)
    if not (folder / NAME).is_file():
        return f"{NAME} is missing"
    try:
        told = dict(json.loads((folder / NAME).read_text()))
    except (ValueError, TypeError):
        return f"{NAME} has changed"
    except OSError as error:
        return f"{NAME} cannot be read: {error.strerror}"
    found = _files(folder)
    if missing := sorted(told.keys() - found):
        return f"{missing[0]} is missing"
    if unknown := sorted(found - told.keys()):
        return f"{unknown[0]} is not in {NAME}"
    return next((fault for name, digest in told.items() if (fault := _fault(folder, name, digest))), None)


def _fault(folder, name, digest):
    try:
        return None if file_sha256(folder / name) == digest else f"{name} has changed"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"


def _files(folder):
    """The files of the items, relative to the folder; in a bucket `walk` leaves the scheme out."""
    root = _bare(folder)
    inner = ((os.path.relpath(_bare(where), root), names) for where, _, names in folder.walk())
    return {os.path.join(where, name) for where, names in inner for name in names if where != "."}


def _bare(path):
    return str(path).rpartition("://")[2]
