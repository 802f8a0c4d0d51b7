"""SHA-256 of every file of a checkpoint: Orbax does not checksum its data, and restores flipped bits silently."""

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


def fault(folder) -> str | None:
    """What is not as digests.json says, such as "ema/d/1f is missing"; files that it does not name may be anything."""
    folder = epath.Path(folder)
    if not (folder / NAME).is_file():
        return f"{NAME} is missing"
    try:
        told = dict(json.loads((folder / NAME).read_text()))
    except (ValueError, TypeError):
        return f"{NAME} has changed"
    for name, digest in told.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _digest(folder / name) != digest:
            return f"{name} has changed"
    return None


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
