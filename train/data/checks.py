"""Validation of image and label arrays; errors name the array, the first bad image and the remedy."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.utils.files import is_remote

SLACK = 1e-6  # values up to this far outside [-1, 1] are clipped, as rounding errors
MOST_CHANNELS = 4  # that an image may have in its last axis, if its first one looks like channels
BEYOND = 1.5  # drawn images exceed [-1, 1] somewhat, poor ones here and there by more than this


class Classes(NamedTuple):
    """Labels of several splits, int32, and the names of the classes, if the labels were texts."""

    labels: list[np.ndarray]
    names: tuple[str, ...] = ()


def local(path: str | os.PathLike) -> Path:
    """The path with ~ expanded; raises UsageError for a bucket."""
    if is_remote(path):
        raise UsageError(f"{path}: data must be on a local disk: copy it there, or mount the bucket")
    return Path(path).expanduser()


def as_images(array: np.ndarray, where: Any, bounded: bool = True, unit: bool | None = None) -> np.ndarray:
    """Validate images; returns (N, *shape), either uint8 or float32 in [-1, 1].

    Floats must lie in [-1, 1], unless they are not `bounded`, as drawn ones; then only a range such as that of 0 to 255
    is refused.  With `unit` they lie in [0, 1] and are scaled; images that seem to are refused unless `unit` is False.
    (N, H, W) gains a channel axis; (N, H, W, C) and (N, d) are unchanged.  Raises UsageError otherwise, with a message
    that starts with `where`.
    """
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UsageError(f"{where} has dtype {array.dtype}: save uint8 in 0..255, or floats in [-1, 1]")
    if array.ndim not in (2, 3, 4):
        raise UsageError(f"{where} has shape {array.shape}: save (N, H, W), (N, H, W, C), or (N, d) for vectors")
    if array.size == 0:
        raise UsageError(f"{where} is empty, shape {array.shape}: save at least one image")
    if array.ndim == 4 and array.shape[1] in (1, 3) and min(array.shape[2:]) > MOST_CHANNELS:
        raise UsageError(
            f"{where} has shape {array.shape}, which seems to be (N, C, H, W): save (N, H, W, C), as "
            f"np.moveaxis(images, 1, -1) does"
        )
    if array.dtype != np.uint8:
        if unit:
            _check_floats(array, where, 0, 1)
            array = 2 * array.astype(np.float32) - 1
        elif bounded:
            _check_floats(array, where, -1, 1)
            if array.ndim > 2 and unit is None:
                _check_black(array, where)
        else:
            _check_floats(array, where, -np.inf, BEYOND if array.min() >= 0 else np.inf)
        array = np.clip(array.astype(np.float32), -1, 1) if bounded else array.astype(np.float32)
    return array[..., None] if array.ndim == 3 else array


def as_classes(arrays: list[np.ndarray], wheres: list[Any], counts: list[int], classes: int | None = None) -> Classes:
    """The labels of several splits as of `as_labels`; texts are names, which are numbered in their order."""
    are_texts = [array.dtype.kind in "US" for array in arrays]
    if not any(are_texts):
        each = zip(arrays, wheres, counts, strict=True)
        return Classes([as_labels(array, where, count, classes) for array, where, count in each])
    if not all(are_texts):
        raise UsageError(f"{wheres[0]} and {wheres[1]} are numbers and names: save both as one of them")
    texts = [_decoded(array, where) for array, where in zip(arrays, wheres, strict=True)]
    names = np.unique(np.concatenate([text.ravel() for text in texts]))
    if classes not in (None, len(names)):
        raise UsageError(f"{wheres[0]} has {len(names)} names, but classes = {classes}: leave classes out")
    each = zip(texts, wheres, counts, strict=True)
    found = [as_labels(np.searchsorted(names, text), where, count) for text, where, count in each]
    return Classes(found, tuple(names.tolist()))


def _decoded(array, where):
    try:
        return array if array.dtype.kind == "U" else np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{where} has bytes that are no text in UTF-8: save texts") from None


def as_labels(array: np.ndarray, where: Any, count: int, classes: int | None = None) -> np.ndarray:
    """Validate integer labels; returns int32 (count,) with values in range(classes), or >= 0 without `classes`.

    Raises UsageError otherwise.
    """
    if array.dtype.kind not in "iu":
        raise UsageError(
            f"{where} has dtype {array.dtype}: save integers, one class index for each image, or names of classes"
        )
    if array.ndim != 1:
        raise UsageError(f"{where} has shape {array.shape}: save class indices of shape ({count},)")
    if len(array) != count:
        raise UsageError(f"{where} has {len(array)} entries for {count} images: save one label for each image")
    limit = np.iinfo(np.int32).max if classes is None else classes
    wrong = (array < 0) | (array >= limit)
    if wrong.any():
        first = int(wrong.argmax())
        label, most = array[first], f"classes = {limit}: relabel, or raise classes"
        known = "the first class is 0: relabel" if label < 0 else most
        raise UsageError(f"{where} out of range: image {first} has label {label}, {known}")
    return array.astype(np.int32)


def _check_floats(array, where, least, most):
    pixels = array.reshape(len(array), -1)
    broken = ~np.isfinite(pixels)
    if broken.any():
        first = int(broken.any(axis=1).argmax())
        raise UsageError(f"{where} has {broken.sum()} NaN or infinite values, the first in image {first}: remove it")
    low, high = float(pixels.min()), float(pixels.max())
    if low < least - SLACK or high > most + SLACK:
        wrong = (pixels.max(axis=1) > most + SLACK) | (pixels.min(axis=1) < least - SLACK)
        raise UsageError(
            f"{where} spans {low:.6g} to {high:.6g}, outside [{max(least, -1)}, {min(most, 1)}], first in image "
            f"{int(wrong.argmax())}: {_rescaling(low, high, least)}"
        )


def _check_black(array, where):
    """UsageError for images whose black seems to be 0."""
    low, high = float(array.min()), float(array.max())
    if low >= 0:
        raise UsageError(
            f"{where} spans {low:.6g} to {high:.6g}, as if black were 0; it is -1 here: save 2 * images - 1, or say "
            f"unit=True (--set npz.unit=True, in Python data=arrays(images, unit=True)); unit=False if that is right"
        )


def _rescaling(low, high, least):
    """How to bring images to [least, 1]."""
    if low >= 0 and high <= 255:
        return f"save images / {'255' if least == 0 else '127.5 - 1'} if 255 is white"
    if least == 0:
        return "leave unit out if they are in [-1, 1]"
    return "rescale before saving, as in 2 * (images - min) / (max - min) - 1, or clip with np.clip(images, -1, 1)"
