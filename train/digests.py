"""SHA-256 of every file of a checkpoint: Orbax does not checksum its data, and restores a flipped bit without a word."""

import hashlib
import json

from etils import epath

from train.files import write_atomic

NAME = "digests.json"


def write(folder) -> None:
    """Write the digests of all files of the folder's items (its sub-folders) into its digests.json.

    The files directly in it are Orbax's notes on the step, which it goes on updating.
    """
    folder = epath.Path(folder)
    paths = (where / name for where, _, names in folder.walk() for name in names if where != folder)
    digests = {str(path.relative_to(folder)): _digest(path) for path in paths}
    write_atomic(folder / NAME, json.dumps(digests, indent=0, sort_keys=True) + "\n")


def damaged(folder) -> list[str]:
    """The files, relative to the folder, that are missing or not what digests.json says; files it does not name count
    for nothing."""
    folder = epath.Path(folder)
    try:
        told = json.loads((folder / NAME).read_text())
        return [name for name, digest in told.items() if _digest(folder / name) != digest]
    except (OSError, ValueError, AttributeError):  # not there, not JSON, not a dictionary
        return [NAME]


def _digest(path):
    """None where there is no file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
