"""Writing the run folder of a foreign model: whole or not at all."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fewstep.errors import UsageError
from fewstep.train.checkpoints import Checkpoints
from fewstep.train.experiment import Experiment
from fewstep.train.run.run import description, write_description
from fewstep.train.state import State
from fewstep.train.utils.hashing import file_sha256
from fewstep.train.utils.progress import progress
from fewstep.train.utils.sealed import write_config
from fewstep.train.utils.temporary import check_new, whole
from fewstep.train.utils.threads import in_thread
from fewstep.zoo import record
from fewstep.zoo.files.mapped import let_go
from fewstep.zoo.found import Found
from fewstep.zoo.layout import imported

ROOM = 64 << 20  # bytes besides the parameters


def check_folder(folder: Path, found: Found) -> None:
    """UsageError unless the folder is new or empty, and the disk has room for the model."""
    check_new(folder, "import into")
    needed = ROOM + sum(4 * array.size for array in found.arrays.values())
    free = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    if free < needed:
        raise UsageError(
            f"not enough disk space for {folder}: it needs {needed / 2**20:.0f} MB, and {free / 2**20:.0f} MB are free"
        )


def write_run(
    folder: Path, found: Found, experiment: Experiment, text: str, names: tuple[str, ...], source: Path
) -> dict[str, Any]:
    """Write the run of a model and return its run.json: everything goes into a new folder beside, which is then
    renamed, so that an import that ends midway leaves no run.

    experiment, text: what `found` is in a config, and that config; names: of its classes.
    """
    digests = in_thread(lambda: {file: file_sha256(Path(file)) for file in found.files})
    _, shapes = experiment.abstract(found.shape, found.classes)
    _check_all_used(found, shapes)
    with progress(len(jax.tree.leaves(shapes)), unit="arrays") as show:
        params = imported(found.leaves, found.arrays, shapes, show)
        let_go(found.arrays.values())
        known = description(shapes, found.shape, found.classes, names, experiment.seed)
        with whole(folder) as partial:
            with Checkpoints(partial / "checkpoints") as checkpoints:
                ema = {str(experiment.ema[0]): {"net": params}}
                state = State(np.int32(0), np.int32(0), {}, ema, {}, ())  # pyright: ignore[reportArgumentType]
                checkpoints.save(0, state)  # which goes on while the others are written
                record.write(partial, found, params)
                known |= {"imported": _origin(found, source, digests())}
            write_description(partial, known)
            write_config(partial / "config.gin", text)
    return known


def _check_all_used(found, shapes):
    """UsageError for a foreign array that is neither a parameter nor left out knowingly: the network is another one."""
    named = {name for path in _paths(shapes) if path in found.leaves for name in _foreign(found.leaves[path])}
    others = [name for name in found.arrays if name not in named and not name.startswith(found.unused or "\0")]
    if others:
        raise UsageError(
            f"the weights have an array {others[0]} {found.arrays[others[0]].shape}, which this network does not: they "
            f"are of another network than their config or preset says"
        )


def _foreign(leaf):
    return (*leaf.names, *leaf.copies)


def _paths(shapes):
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return [tuple(key.key for key in path) for path, _ in leaves]


def _origin(found: Found, source: Path, digests: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "source": str(source.resolve()),
        "files": digests,
        "kind": found.kind,
        "weights": found.chosen,
        "licence": found.licence,
        "sampled": dict(found.sampled),
        "options": found.options,
        "differs": found.differs,
    }
