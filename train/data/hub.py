"""Data sets that Hugging Face `datasets` saved to disk."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.checks import as_labels, local
from fewstep.train.data.dataset import Dataset, class_count, partition
from fewstep.train.data.decode import check_form
from fewstep.train.data.decoded import Decoded
from fewstep.train.data.split import Split

HELD_OUT = ("test", "validation", "valid", "val")


def huggingface(
    path: str, size=32, channels=3, split="train", image="image", label: str | None = "label",
    held_out: int | float = 0.1, seed=0,
):  # fmt: skip
    """What `dataset.save_to_disk(path)` wrote: columns `image` (of the feature Image) and `label` (class indices; None:
    no labels), decoded as they are read (`decode`).

    Of several splits, `split` is trained on; where there is one called test, or else validation, it is held out and
    `held_out` is unused.  Otherwise held_out is a fraction below 1 or a count.  FileNotFoundError or UsageError name
    what is missing; a damaged image is found when it is read.
    """
    check_form(size, channels)
    path = local(path)
    parts = _load(path, split)
    if split not in parts:
        raise UsageError(f"{path} has no split {split!r} (it has {', '.join(parts)}): set huggingface.split")
    held_apart = next((name for name in HELD_OUT if name in parts and name != split), None)
    train = _source(f"{path}, {split}", parts[split], size, channels, image, label)
    if held_apart is None:
        return partition(path.resolve().name, train, _classes(parts[split], label, train), held_out, seed)
    test = _source(f"{path}, {held_apart}", parts[held_apart], size, channels, image, label)
    classes = _classes(parts[split], label, train, test)
    order = np.random.default_rng(seed).permutation(len(train))  # the first images then stand for all of them
    return Dataset(path.resolve().name, Split(train, order), Split(test), classes)


@dataclass(frozen=True, eq=False)
class _Rows(Decoded):
    where: str
    rows: Any  # a datasets.Dataset of the one column, not decoded
    column: str

    def __len__(self):
        return len(self.rows)

    def files(self, indices):
        return map(_file, self.rows[np.asarray(indices).tolist()][self.column])

    def refusal(self, i, why):
        return f"{self.where}: image {i} is bad ({why}): leave it out and save again"


def _file(cell):
    if cell is None:
        return None
    return cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"])


def _load(path, split):
    """The splits by name; a data set without splits is the one asked for."""
    try:
        import datasets
    except ImportError:
        raise UsageError(f"{path} is read with datasets: pip install 'fewstep[hf]'") from None
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder (looked in {path.absolute().parent}): check the path")
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # of Arrow, of JSON, of files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} cannot be loaded ({reason}): write it with dataset.save_to_disk(path)") from None
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {split: loaded}


def _source(where, rows, size, channels, image, label):
    import datasets

    for parameter, column in (("image", image), ("label", label)):
        if column is not None and column not in rows.column_names:
            there = ", ".join(rows.column_names)
            none = ", to None for no labels" if parameter == "label" else ""
            raise UsageError(f"{where} has no column {column!r} (it has {there}): set huggingface.{parameter}{none}")
    if not isinstance(rows.features[image], datasets.Image):
        kind = type(rows.features[image]).__name__
        raise UsageError(f"{where}: column {image} is of kind {kind}: cast it, as in cast_column({image!r}, Image())")
    if len(rows) == 0:
        raise UsageError(f"{where} is empty: save at least one image")
    undecoded = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    labels = None
    if label is not None:
        values = rows.select_columns([label]).with_format("numpy")[:][label]
        labels = as_labels(np.asarray(values), f"{where}: column {label}", len(rows))
    return _Rows(labels, size, channels, where, undecoded, image)


def _classes(rows, label, *sources):
    """As many as the feature names, or as there are."""
    known = getattr(rows.features[label], "num_classes", None) if label else None
    return known or class_count(*(source.labels for source in sources))
