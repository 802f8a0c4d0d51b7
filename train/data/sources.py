"""Images in memory: the included digits, .npz files, and arrays."""

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from fewstep.errors import UsageError
from fewstep.ranges import Range, Seed, checked
from fewstep.train.data.archive import open_npz, read_array
from fewstep.train.data.checks import as_classes, as_images, local
from fewstep.train.data.dataset import Dataset, HeldOut, class_count, partition
from fewstep.train.data.split import Arrays, Split
from fewstep.train.utils.npz import read

LAYOUTS = (  # names of images, labels, held-out images, held-out labels
    ("images", "labels", "held_out_images", "held_out_labels"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)

Classes = Annotated[int, Range(1, 1_000_000)]


@checked
def digits(held_out: HeldOut = 500, seed: Seed = 0) -> Dataset:
    """1,797 handwritten digits (8, 8, 1), ten classes (Alpaydin & Kaynak 1998, doi 10.24432/C50P49, CC BY 4.0)."""
    found = read(Path(__file__).with_name("digits.npz"))
    images, labels = found["images"][..., None] / np.float32(8) - 1, found["labels"].astype(np.int32)
    return partition("digits", Arrays(images, labels), 10, held_out, seed)


@checked
def npz(
    path: str, held_out: HeldOut = 0.1, seed: Seed = 0, classes: Classes | None = None, unit: bool | None = None
) -> Dataset:
    """The images of a .npz file, in memory.

    Arrays:  images                  (N, H, W), (N, H, W, C) or (N, d); uint8 (scaled by x / 127.5 - 1), or floats in
                                     [-1, 1]; with unit = True floats in [0, 1], which are scaled by 2 x - 1
             labels                  (N,) class indices from 0, or names of classes; optional
             held_out_images, held_out_labels      optional; if present, `held_out` is unused

    The names train_images, train_labels, test_images, test_labels (Fashion-MNIST) and x_train, y_train, x_test,
    y_test (Keras) are accepted too; other arrays are not read.  held_out is a fraction below 1 or a number of images;
    classes defaults to the largest label + 1.  Raises FileNotFoundError or UsageError with the file, the array and the
    remedy; also, unless unit = False, for floats that seem to be in [0, 1].
    """
    file = local(path)
    with open_npz(file) as archive:
        arrays = next((arrays for arrays in LAYOUTS if arrays[0] in archive), None)
        if arrays is None:
            found = ", ".join(archive.files[:8]) or "no arrays"
            raise UsageError(f"{file} has no array images (it has {found}): save them under that name")
        there = [pair for pair in (arrays[:2], arrays[2:]) if pair[0] in archive]
        images = [as_images(read_array(archive, name, file), f"{file}: {name}", unit=unit) for name, _ in there]
        named = [name for _, name in there if name in archive]
        texts = [read_array(archive, name, file) for name in named]
    if len(named) not in (0, len(there)):
        raise UsageError(f"{file} has only one of {arrays[1]} and {arrays[3]}: save both or neither")
    if classes is not None and not named:
        raise UsageError(f"{file} has no array {arrays[1]}, but classes = {classes}: save labels or leave classes out")
    labels, names = [None] * len(there), ()
    if named:
        labels, names = as_classes(texts, [f"{file}: {name}" for name in named], [*map(len, images)], classes)
    train, *test = (Arrays(*pair) for pair in zip(images, labels, strict=True))
    classes = classes or class_count(*labels)
    if not test:
        return partition(file.stem, train, classes, held_out, seed, names)
    if train.shape != test[0].shape:
        shapes = f"{train.shape} in {arrays[0]}, {test[0].shape} in {arrays[2]}"
        raise UsageError(f"{file} has images of two shapes, {shapes}: save one shape")
    order = np.random.default_rng(seed).permutation(len(train))  # so that the first images are a random sample
    return Dataset(file.stem, Split(train, order), Split(test[0]), classes, names)


@checked
def arrays(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    held_out: HeldOut = 0.1,
    seed: Seed = 0,
    unit: bool | None = None,
) -> Dataset:
    """Images in memory, (N, H, W), (N, H, W, C) or (N, d), in the formats of `npz`, with optional labels (N,).

    They are copied: later changes of the arrays have no effect.
    """
    pixels, label, names = as_images(np.array(images), "images", unit=unit), None, ()
    if labels is not None:
        (label,), names = as_classes([np.asarray(labels)], ["labels"], [len(pixels)])
    return partition("arrays", Arrays(pixels, label), class_count(label), held_out, seed, names)
