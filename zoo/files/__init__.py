"""Weight files of other programs, read as plain values: nothing of torch is needed, and nothing in a file is run.

Opened are safetensors (also in shards), files of torch.save (zip and legacy form), pickles of arrays and of EDM's
modules, and msgpack of flax.  Everything else, and everything damaged, raises `Damaged` with one line.
"""

from typing import Any

from etils import epath

from fewstep.train.utils.errors import Damaged
from fewstep.zoo.files import flax_files, safetensors, sharded, torch_files
from fewstep.zoo.files.mapped import Source, contents
from fewstep.zoo.files.records import Namespace, Persistent
from fewstep.zoo.files.sets import chosen, flat, weight_sets

__all__ = ["Damaged", "Namespace", "Persistent", "chosen", "flat", "read", "weight_sets"]

OPENED = "safetensors, .pt of torch.save, pickles of arrays or EDM modules, and msgpack of flax are opened"
POINTER = b"version https://git-lfs.github.com/spec/"
OTHERS = {
    b"\x89HDF": "is HDF5", b"\x93NUMPY": "is an .npy array", b"\x1f\x8b": "is a gzip archive", b"GGUF": "is GGUF",
    b"7z": "is a 7z archive", b"Rar!": "is a RAR archive", b"<!": "is a web page", b"<html": "is a web page",
}  # fmt: skip


def read(path: epath.PathLike) -> Any:
    """What a file of weights holds, as plain nested values.

    They are dicts, lists, tuples, sets, numbers, texts, bytes, None, NumPy arrays (those of bfloat16 and float8 with
    the types of ml_dtypes), and the records `Persistent` and `Namespace`.  A `*.index.json` gives the arrays of all its
    shards.  The format is recognised by the content.  Arrays are read-only views of the file, which is read where they
    are used; it may be replaced meanwhile, but not be shortened.

    Raises Damaged, a UsageError: for what cannot be read, is of no known format, damaged, or asks for anything that is
    not data.
    """
    if str(path).endswith(".json"):
        return sharded.read(path, read)
    source = contents(path)
    start = bytes(source.data[:64])
    if start.startswith(POINTER):
        raise Damaged(path, "is a pointer of Git LFS, not the file: fetch it by `git lfs pull` in its repository")
    other = next((words for mark, words in OTHERS.items() if start.startswith(mark)), "")
    if other:
        raise Damaged(path, f"{other}: {OPENED}")
    if _is_safetensors(source, start):
        return safetensors.read_source(source)
    if start.startswith(b"PK") or _is_pickle(start) or str(path).endswith((".pkl", ".pickle")):
        return torch_files.read_source(source)
    if 0x81 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF):  # a map with at least one name
        return flax_files.read_source(source)
    raise Damaged(path, f"is of no known format: {OPENED}")


def _is_safetensors(source: Source, start: bytes) -> bool:
    """It begins with the size of its header, of fewer than 2^48 bytes, and the header."""
    return start[6:9] == b"\0\0{" or str(source.path).endswith(".safetensors")


def _is_pickle(start: bytes) -> bool:
    """It begins with the number of a protocol from 2 on."""
    return len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5
