"""Images in memory: the included digits, .npz files, and arrays."""

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from fewstep.errors import UsageError
from fewstep.ranges import Range, Seed, checked
from fewstep.train.data.archive import open_npz, read_array
from fewstep.train.data.checks import as_images, as_labels, local
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
def npz(path: str, held_out: HeldOut = 0.1, seed: Seed = 0, classes: Classes | None = None) -> Dataset:
    """The images of a .npz file, in memory.

    Arrays:  images                  (N, H, W), (N, H, W, C) or (N, d); uint8 (scaled by x / 127.5 - 1), or floats in
                                     [-1, 1] (not rescaled: floats in [0, 1] stay there)
             labels                  (N,) class indices from 0, optional
             held_out_images, held_out_labels      optional; if present, `held_out` is unused

    The names train_images, train_labels, test_images, test_labels (Fashion-MNIST) and x_train, y_train, x_test,
    y_test (Keras) are accepted too; other arrays are not read.  held_out is a fraction below 1 or a number of images;
    classes defaults to the largest label + 1.  Raises FileNotFoundError or UsageError with the file, the array and the
    remedy.
    """
    file = local(path)
    with open_npz(file) as archive:
        names = next((names for names in LAYOUTS if names[0] in archive), None)
        if names is None:
            found = ", ".join(archive.files[:8]) or "no arrays"
            raise UsageError(f"{file} has no array images (it has {found}): save them under that name")
        train = _read_arrays(archive, file, *names[:2], classes)
        test = _read_arrays(archive, file, *names[2:], classes) if names[2] in archive else None
    if classes is not None and train.labels is None:
        raise UsageError(f"{file} has no array {names[1]}, but classes = {classes}: save labels or leave classes out")
    if test is None:
        return partition(file.stem, train, classes or class_count(train.labels), held_out, seed)
    if (train.labels is None) != (test.labels is None):
        raise UsageError(f"{file} has only one of {names[1]} and {names[3]}: save both or neither")
    if train.shape != test.shape:
        shapes = f"{train.shape} in {names[0]}, {test.shape} in {names[2]}"
        raise UsageError(f"{file} has images of two shapes, {shapes}: save one shape")
    classes = classes or class_count(train.labels, test.labels)
    order = np.random.default_rng(seed).permutation(len(train))  # so that the first images are a random sample
    return Dataset(file.stem, Split(train, order), Split(test), classes)


@checked
def arrays(images: ArrayLike, labels: ArrayLike | None = None, held_out: HeldOut = 0.1, seed: Seed = 0) -> Dataset:
    """Images in memory, (N, H, W), (N, H, W, C) or (N, d), in the formats of `npz`, with optional labels (N,).

    They are copied: later changes of the arrays have no effect.
    """
    pixels = as_images(np.array(images), "images")
    label = None if labels is None else as_labels(np.asarray(labels), "labels", len(pixels))
    return partition("arrays", Arrays(pixels, label), class_count(label), held_out, seed)


def _read_arrays(archive, path, images, labels, classes):
    array = as_images(read_array(archive, images, path), f"{path}: {images}")
    if labels not in archive:
        return Arrays(array)
    return Arrays(array, as_labels(read_array(archive, labels, path), f"{path}: {labels}", len(array), classes))
