"""What a run keeps of the foreign files that it was imported from, so that they can be written again.

foreign.json has the source's own configs, the names, types and shapes of its arrays, and the leaves;
foreign.safetensors the arrays of which our parameters, in float32, are no whole copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import FOREIGN, write_atomic
from fewstep.train.utils.sealed import read_json, sealed_json
from fewstep.zoo.files import safetensors
from fewstep.zoo.files.tensors import DTYPES
from fewstep.zoo.found import Found
from fewstep.zoo.layout import LAYOUTS, Leaf, Leaves, exported, paths

ARRAYS = "foreign.safetensors"


@dataclass(frozen=True)
class Foreign:
    """The foreign files of a run."""

    texts: Mapping[str, str]  # its small files, by their names in the folder: configs
    weights: str  # the name of its file of weights there
    forms: Mapping[str, tuple[str, tuple[int, ...]]]  # (type, shape) of each array
    leaves: Leaves
    kept: Mapping[str, np.ndarray]

    def arrays(self, params: Any) -> dict[str, np.ndarray]:
        """The foreign arrays with our parameters in them; UsageError if there are others than were imported."""
        if others := [path for path, _ in paths(params) if path not in self.leaves]:
            raise UsageError(
                f"the network has {'.'.join(map(str, others[0]))}, which the imported one had not: its own form "
                f"cannot hold it, so export it as --format safetensors"
            )
        blank = {name: np.zeros(shape, DTYPES[kind]) for name, (kind, shape) in self.forms.items()}
        return exported(self.leaves, params, blank | dict(self.kept))


def write(folder: File, found: Found, params: Any) -> None:
    """Write both files into the folder of a run with these parameters, which `found` gave."""
    used, written = dict.fromkeys(found.arrays, 0), {}
    for path, value in paths(params):
        leaf = found.leaves[path]
        whole = sum(found.arrays[name].size for name in leaf.names)
        for name in leaf.names:
            used[name] += found.arrays[name].size if value.size == whole else value.size
        used |= {name: found.arrays[name].size for name in leaf.copies}
        written[path] = leaf
    kept = {name: array for name, array in found.arrays.items() if used[name] < array.size or array.itemsize > 4}
    safetensors.write(folder / ARRAYS, kept)
    record = {
        "texts": dict(found.texts),
        "weights": found.weights,
        "arrays": {name: [str(array.dtype), list(array.shape)] for name, array in found.arrays.items()},
        "leaves": [
            [list(path), list(leaf.names), *_written(leaf), list(leaf.copies)] for path, leaf in written.items()
        ],
    }
    write_atomic(folder / FOREIGN, sealed_json(record))


def read(folder: File) -> Foreign | None:
    """What is kept in the folder of a run; None if it was not imported."""
    if not (folder / FOREIGN).exists():
        return None
    record = read_json(folder / FOREIGN)
    try:
        leaves = {tuple(path): _leaf(*leaf) for path, *leaf in record["leaves"]}
        forms = {name: (str(kind), tuple(map(int, shape))) for name, (kind, shape) in record["arrays"].items()}
        found = Foreign(dict(record["texts"]), str(record["weights"]), forms, leaves, safetensors.read(folder / ARRAYS))
        if outside := [name for name in (*found.texts, found.weights) if _leaves_folder(name)]:
            raise ValueError(f"a file {outside[0]!r} outside its folder")
        if odd := [kind for kind, shape in forms.values() if kind not in DTYPES or min(shape, default=0) < 0]:
            raise ValueError(f"an array of type {odd[0]!r}")
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(folder / FOREIGN, f"is damaged ({error})") from None


def _leaves_folder(name):
    return File(name).is_absolute() or ".." in File(name).parts


def _written(leaf):
    layout = leaf.layout
    inner, options = (layout.func, layout.keywords) if isinstance(layout, partial) else (layout, {})
    assert LAYOUTS.get(inner.__name__) is inner, f"{inner.__name__} is not in LAYOUTS"
    return inner.__name__, dict(options)


def _leaf(names, layout, options, copies):
    inner = LAYOUTS[layout]
    return Leaf(tuple(names), partial(inner, **options) if options else inner, tuple(copies))
