"""Memory-mapped images of a .npy file, which may be larger than memory."""

import numpy as np

from fewstep.errors import UsageError
from fewstep.ranges import Seed, checked
from fewstep.train.data.archive import check_is_file
from fewstep.train.data.checks import as_classes, as_images, local
from fewstep.train.data.dataset import Dataset, HeldOut, class_count, partition
from fewstep.train.data.split import Arrays
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import open_file

REMEDY = "write it with np.save(path, images)"


@checked
def npy(path: str, labels: str | None = None, held_out: HeldOut = 0.1, seed: Seed = 0) -> Dataset:
    """uint8 images (N, H, W) or (N, H, W, C) of a .npy file, read from disk on demand.

    labels: another .npy file, (N,) class indices from 0, or names.  held_out is a fraction below 1 or a number of
    images.  Raises FileNotFoundError or UsageError with the file and the remedy.
    """
    file = local(path)
    images = _load(file)
    if images.dtype != np.uint8:
        raise UsageError(f"{file} has dtype {images.dtype}: save uint8 in 0..255, or use @npz for floats in memory")
    if images.ndim not in (3, 4):
        raise UsageError(f"{file} has shape {images.shape}: save (N, H, W) or (N, H, W, C)")
    images = as_images(images, file)
    label, names = None, ()
    if labels is not None:
        label_file = local(labels)
        (label,), names = as_classes([_load(label_file)], [label_file], [len(images)])
    source = Arrays(images, label, in_memory=False)
    return partition(file.stem, source, class_count(label), held_out, seed, names)


def _load(path):
    check_is_file(path, ".npy")
    with open_file(path) as file:
        head = file.read(6)
    if head[:2] == b"PK":
        raise UsageError(f"{path} is an .npz archive: use @npz, or save a single array with np.save")
    if head != b"\x93NUMPY":
        raise UsageError(f"{path} is not a .npy file: {REMEDY}")
    try:
        return npz.mapped(path)
    except Damaged as error:
        if "Object arrays" in str(error):
            raise UsageError(f"{path} has dtype object: save a numeric array, not a list") from None
        raise UsageError(f"{path} is truncated or damaged: {REMEDY}") from None
