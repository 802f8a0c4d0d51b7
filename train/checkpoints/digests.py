"""SHA-256 of every file of a checkpoint: Orbax has no checksums, and restores corrupted data silently."""

import json
import os

from etils import epath

from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import DIGESTS, open_file, write_atomic
from fewstep.train.utils.hashing import file_sha256
from fewstep.train.utils.sealed import read_json

NAME = DIGESTS


def write(folder: epath.PathLike) -> None:
    """Write the digests of all files in the subfolders of a checkpoint (its items) to its digests.json.

    Files directly in the folder are excluded: they are Orbax's metadata, which it may still update.
    """
    folder = epath.Path(folder)
    digests = {name: file_sha256(folder / name) for name in _files(folder)}
    write_atomic(folder / NAME, json.dumps(digests, indent=0, sort_keys=True) + "\n")


def damage(folder: epath.PathLike) -> str | None:
    """The first mismatch with digests.json, such as "ema/d/1f is missing"; None if the checkpoint is intact."""
    folder = epath.Path(folder)
    if not (folder / NAME).is_file():
        return f"{NAME} is missing"
    try:
        expected = dict(read_json(folder / NAME))
    except Damaged as error:
        return f"{NAME} {error.reason}"
    except (ValueError, TypeError):
        return f"{NAME} has changed"
    except OSError as error:
        return f"{NAME} cannot be read: {error.strerror}"
    found = _files(folder)
    if missing := sorted(expected.keys() - found):
        return f"{missing[0]} is missing"
    if unknown := sorted(found - expected.keys()):
        return f"{unknown[0]} is not in {NAME}"
    others = [(path.name, None) for path in folder.iterdir() if not path.is_dir()]  # Orbax reads them too
    checks = (_file_damage(folder, name, digest) for name, digest in (*others, *expected.items()))
    return next((damage for damage in checks if damage), None)


def _file_damage(folder, name, digest):
    try:
        if digest is None:
            open_file(folder / name).close()
        elif file_sha256(folder / name) != digest:
            return f"{name} has changed"
    except Damaged as error:
        return f"{name} {error.reason}"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None


def _files(folder):
    """The files of the items, relative to the folder; in a bucket `walk` yields paths without the scheme."""
    root = _bare(folder)
    inner = ((os.path.relpath(_bare(where), root), names) for where, _, names in folder.walk())
    return {os.path.join(where, name) for where, names in inner for name in names if where != "."}


def _bare(path):
    return str(path).rpartition("://")[2]
