"""Data in memory, kept in the folder of the run that was trained on them, so that the run opens without them."""

from typing import Any

import numpy as np
from etils import epath

from fewstep.train.data.dataset import Dataset
from fewstep.train.data.split import Arrays, Split
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.messages import say

FILE = "data.npz"
MOST_BYTES = 1 << 30


def in_memory(data: Dataset) -> dict[str, Any] | None:
    """The arrays of a data set under the names of an .npz file; None if its images are not in memory."""
    found = {}
    for split, start in ((data.train, ""), (data.held_out, "held_out_")):
        if not (isinstance(split.source, Arrays) and split.source.in_memory):
            return None
        images, labels = split.source.read(split.index)  # pyright: ignore[reportArgumentType]  # never None
        found |= {f"{start}images": images} | ({} if labels is None else {f"{start}labels": labels})
    return found


def keep(folder: epath.Path, data: Dataset, anew: bool) -> None:
    """Write data in memory to the folder, unless they are there and not wanted `anew`, or too large."""
    path = folder / FILE
    if (path.exists() and not anew) or (arrays := in_memory(data)) is None:
        return
    size = sum(array.nbytes for array in arrays.values())
    if size > MOST_BYTES:
        say(f"the data ({size / 2**30:.1f} GiB) are not kept in the run: pass them, fewstep.open_run(folder, data=...)")
        return
    npz.write(path, **arrays, classes=data.classes, **({"names": np.array(data.names)} if data.names else {}))
    say(f"the data are kept in {path} ({size / 2**20:.3g} MiB)")


def kept(folder: epath.Path) -> Dataset:
    """The data set that `keep` wrote; raises RunError if the file is damaged."""
    path = folder / FILE
    try:
        found = npz.read(path)
        train, held_out = (
            Split(Arrays(found[f"{start}images"], found.get(f"{start}labels"))) for start in ("", "held_out_")
        )
        names = found["names"].tolist() if "names" in found else ()
        return Dataset("arrays", train, held_out, int(found["classes"]), tuple(names))
    except (Damaged, KeyError) as error:
        found = error if isinstance(error, Damaged) else f"{path} is damaged"
        raise RunError(f"{found}: pass the data, fewstep.open_run(folder, data=...)") from None
