"""Reading .npz files of users, with clear errors for missing, truncated or other files; nothing is unpickled."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from etils import epath

from fewstep.errors import UsageError
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import open_file

REMEDY = "write it with np.savez(path, images=..., labels=...)"


@contextmanager
def open_npz(path: Path | epath.Path) -> Iterator[npz.Archive]:
    """The opened .npz archive; raises FileNotFoundError or UsageError for anything else."""
    check_is_file(path, ".npz")
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(npz.opened(path))
        except Damaged as error:
            what = _diagnosis(path) if error.reason.startswith("is damaged") else error.reason
            raise UsageError(f"{path} {what}: {REMEDY}") from None
        yield archive


def check_is_file(path: Path | epath.Path, suffix: str) -> None:
    """Raises FileNotFoundError or UsageError if there is no file at the path."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the {suffix} file itself")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file (looked in {path.absolute().parent}): check the path")


def read_array(archive: npz.Archive, key: str, path: Path | epath.Path) -> np.ndarray:
    """Array `key` of the archive; raises UsageError if it is damaged, too large, or holds Python objects."""
    try:
        return archive[key]
    except npz.TooLarge as error:
        raise UsageError(f"{error}: give less data, or @npy, which reads a .npy file from disk") from None
    except Damaged as error:
        if "Object arrays" in str(error):
            raise UsageError(f"{path}: {key} has dtype object: save a numeric array, not a list") from None
        raise UsageError(f"{path}: {key} is truncated or damaged: write or download the file again") from None


def _diagnosis(path):
    with open_file(path) as file:
        head = file.read(2)
    kinds = {b"": "is empty (0 bytes)", b"PK": "is a truncated or damaged .npz", b"\x93N": "holds one bare array"}
    return kinds.get(head, "is not an .npz archive")
