"""Weights in several files, and the index that says which array is in which: `*.safetensors.index.json`."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import JSON, loads, read_text
from fewstep.zoo.files.mapped import quoted

PLAIN = re.compile(r"[^./\\\0:][^/\\\0:]*")
MOST_SHARDS = 500  # each is an open file


def read(path: epath.PathLike, read_file: Callable[[epath.PathLike], Any]) -> dict[str, np.ndarray]:
    """The arrays that an index names, from the files beside it, which `read_file` opens.

    Raises Damaged for an index that is none, a file that is missing or elsewhere, and an array that its file lacks.
    """
    try:
        said = loads(read_text(path, JSON))
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror or error})") from None
    except Damaged:
        raise
    except ValueError as error:
        raise Damaged(path, f"is damaged ({error}): fetch it again") from None
    names = said.get("weight_map") if isinstance(said, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise Damaged(path, "is no index of weights (it has no weight_map): give the file of the weights itself")
    files = sorted(set(names.values()))
    if len(files) > MOST_SHARDS:
        raise Damaged(path, f"is not opened: it names {len(files)} files, and {MOST_SHARDS} are the most")
    folder = epath.Path(path).parent
    for file in files:
        if not PLAIN.fullmatch(file) or file.endswith(".json"):
            raise Damaged(path, f"names {quoted(file)}, which is no file of weights beside it: it is not opened")
        if not (folder / file).exists():
            raise Damaged(path, f"names {quoted(file)}, which is not there: fetch all files of the model")
    shards = {file: read_file(folder / file) for file in files}
    for name, file in names.items():
        shard = shards[file]
        if not isinstance(shard, dict) or not isinstance(shard.get(name), np.ndarray):
            raise Damaged(folder / file, f"lacks {quoted(name)}, which {epath.Path(path).name} names: fetch both again")
    return {name: shards[file][name] for name, file in names.items()}
