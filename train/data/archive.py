"""Reading .npz files of users, with clear errors for missing, truncated or other files; nothing is unpickled."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from fewstep.errors import UsageError
from fewstep.train.utils.npz import BROKEN

REMEDY = "write it with np.savez(path, images=..., labels=...)"


def open_npz(path: Path | epath.Path) -> Any:
    """The opened .npz archive (`np.lib.npyio.NpzFile`); raises FileNotFoundError or UsageError for anything else."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the .npz file itself")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file (looked in {path.absolute().parent}): check the path")
    try:
        with zipfile.ZipFile(path):  # np.load alone would leave a damaged file open
            return np.load(path, allow_pickle=False)
    except BROKEN:
        raise UsageError(f"{path} {_diagnosis(path)}: {REMEDY}") from None


def read_array(archive: Any, key: str, path: Path | epath.Path) -> np.ndarray:
    """Array `key` of the archive; raises UsageError if it is damaged or holds Python objects."""
    try:
        array = archive[key]
    except BROKEN as error:
        if "Object arrays" in str(error):
            raise UsageError(f"{path}: {key} has dtype object: save a numeric array, not a list") from None
        raise UsageError(f"{path}: {key} is truncated or damaged: write or download the file again") from None
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path}: {key} is not a NumPy array: {REMEDY}")
    return array


def _diagnosis(path):
    with path.open("rb") as file:
        head = file.read(2)
    kinds = {b"": "is empty (0 bytes)", b"PK": "is a truncated or damaged .npz", b"\x93N": "holds one bare array"}
    return kinds.get(head, "is not an .npz archive")
