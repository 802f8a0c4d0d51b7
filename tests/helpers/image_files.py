"""Small images on disk for the sources that read them."""

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)


def write(folder, images=PIXELS, classes=("cat", "dog")):
    """A .png for each image, in turn in the sub-folders `classes`, or all in the folder itself; their paths."""
    paths = []
    for i, pixels in enumerate(images):
        path = folder / (classes[i % len(classes)] if classes else "") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


def spoil(folder):
    """One truncated image and one file that is none."""
    whole = next(folder.rglob("*.png")).read_bytes()
    (folder / "cat").mkdir(exist_ok=True)
    (folder / "cat" / "broken.png").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "notes.txt").write_text("not an image at all")


def as_bytes(image):
    """Pixels in [-1, 1] as the uint8 they came from."""
    return np.rint((image + 1) * 127.5).astype(np.uint8)
