"""Data sets saved to disk by Hugging Face `datasets`."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.ranges import Seed, checked
from fewstep.train.data.checks import as_labels, local
from fewstep.train.data.dataset import Dataset, HeldOut, class_count, partition
from fewstep.train.data.decode import MOST_PIXELS, BadImage, Channels, Pixels, Side
from fewstep.train.data.decoded import Decoded
from fewstep.train.data.split import Split

HELD_OUT = ("test", "validation", "valid", "val")


@checked
def huggingface(
    path: str, size: Side = 32, channels: Channels = 3, split: str = "train", image: str = "image",
    label: str | None = "label", held_out: HeldOut = 0.1, seed: Seed = 0,
    max_pixels: Pixels = MOST_PIXELS,
) -> Dataset:  # fmt: skip
    """A data set written by `dataset.save_to_disk(path)`, with the columns `image` (feature Image) and `label` (class
    indices; None: no labels); images are decoded when they are read (`decode`).

    `split` is the training split.  If there is a split named test or validation, it is held out, and `held_out` is
    unused; otherwise held_out is a fraction below 1 or a number of images.  Raises FileNotFoundError or UsageError for
    missing files, splits and columns; a damaged image raises UsageError when it is read.
    """
    folder = local(path)
    parts = _load(folder, split)
    if split not in parts:
        raise UsageError(f"{folder} has no split {split!r} (it has {', '.join(parts)}): set huggingface.split")
    test_name = next((name for name in HELD_OUT if name in parts and name != split), None)
    train = _source(f"{folder}, {split}", parts[split], size, channels, max_pixels, image, label)
    names = tuple(getattr(parts[split].features[label], "names", ())) if label else ()
    if test_name is None:
        return partition(folder.resolve().name, train, _classes(parts[split], label, train), held_out, seed, names)
    test = _source(f"{folder}, {test_name}", parts[test_name], size, channels, max_pixels, image, label)
    classes = _classes(parts[split], label, train, test)
    order = np.random.default_rng(seed).permutation(len(train))  # so that the first images are a random sample
    return Dataset(folder.resolve().name, Split(train, order), Split(test), classes, names)


@dataclass(frozen=True, eq=False)
class _Rows(Decoded):
    where: str
    rows: Any  # a datasets.Dataset of the one column, not decoded
    column: str

    def __len__(self) -> int:
        return len(self.rows)

    def files(self, indices: np.ndarray) -> Iterable[Any]:
        return map(_file, self.rows[np.asarray(indices).tolist()][self.column])

    def refusal(self, i: int, reason: BadImage) -> str:
        return f"{self.where}: image {i} cannot be decoded ({reason}): remove it and save the data set again"


def _file(cell):
    if cell is None:
        return None
    return cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"])


def _load(path, split) -> dict[str, Any]:
    """The splits by name; a data set without splits is taken as `split`."""
    try:
        import datasets
    except ImportError:
        raise UsageError(f"reading {path} requires the package datasets: pip install 'fewstep[hf]'") from None
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder (looked in {path.absolute().parent}): check the path")
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # from Arrow, JSON or the file system
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} cannot be loaded ({reason}): write it with dataset.save_to_disk(path)") from None
    if isinstance(loaded, datasets.DatasetDict):
        return {str(name): part for name, part in loaded.items()}
    return {split: loaded}


def _source(where, rows, size, channels, max_pixels, image, label):
    import datasets

    for parameter, column in (("image", image), ("label", label)):
        if column is not None and column not in rows.column_names:
            there = ", ".join(rows.column_names)
            none = ", or to None for no labels" if parameter == "label" else ""
            raise UsageError(f"{where} has no column {column!r} (it has {there}): set huggingface.{parameter}{none}")
    if not isinstance(rows.features[image], datasets.Image):
        kind = type(rows.features[image]).__name__
        raise UsageError(f"{where}: column {image} has feature {kind}: cast it with cast_column({image!r}, Image())")
    if len(rows) == 0:
        raise UsageError(f"{where} is empty: save at least one image")
    undecoded = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    labels = None
    if label is not None:
        values = rows.select_columns([label]).with_format("numpy")[:][label]
        labels = as_labels(np.asarray(values), f"{where}: column {label}", len(rows))
    return _Rows(labels, size, channels, max_pixels, where, undecoded, image)


def _classes(rows, label, *sources):
    """The number of classes that the feature declares, otherwise that of the labels."""
    known = getattr(rows.features[label], "num_classes", None) if label else None
    return known or class_count(*(source.labels for source in sources))
