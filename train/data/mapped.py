"""Memory-mapped images of a .npy file, which may be larger than memory."""

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.data.checks import as_images, as_labels, local
from fewstep.train.data.dataset import Dataset, class_count, partition
from fewstep.train.data.split import Arrays

REMEDY = "write it with np.save(path, images)"


def npy(path: str, labels: str | None = None, held_out: int | float = 0.1, seed: int = 0) -> Dataset:
    """uint8 images (N, H, W) or (N, H, W, C) of a .npy file, read from disk on demand.

    labels: another .npy file, (N,) class indices from 0.  held_out is a fraction below 1 or a number of images.  Raises
    FileNotFoundError or UsageError with the file and the remedy.
    """
    file = local(path)
    images = _load(file, "r")
    if images.dtype != np.uint8:
        raise UsageError(f"{file} has dtype {images.dtype}: save uint8 in 0..255, or use @npz for floats in memory")
    if images.ndim not in (3, 4):
        raise UsageError(f"{file} has shape {images.shape}: save (N, H, W) or (N, H, W, C)")
    images = as_images(images, file)
    label = None
    if labels is not None:
        label_file = local(labels)
        label = as_labels(_load(label_file, None), label_file, len(images))
    return partition(file.stem, Arrays(images, label, in_memory=False), class_count(label), held_out, seed)


def _load(path, mode):
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the .npy file itself")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file (looked in {path.absolute().parent}): check the path")
    with path.open("rb") as file:
        head = file.read(6)
    if head[:2] == b"PK":
        raise UsageError(f"{path} is an .npz archive: use @npz, or save a single array with np.save")
    if head != b"\x93NUMPY":
        raise UsageError(f"{path} is not a .npy file: {REMEDY}")
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise UsageError(f"{path} has dtype object: save a numeric array, not a list") from None
        raise UsageError(f"{path} is truncated or damaged: {REMEDY}") from None
