"""Small images on disk for the sources that read them."""

import io
import struct
import zlib

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


def picture(kind):
    """The bytes of a file of 16 x 16 pixels of a kind, "PNG"."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).save(file, kind)
    return bytearray(file.getvalue())


def enlarged(kind, side):
    """The same of a "JPEG", "PNG" or "GIF" whose header says side x side."""
    data = picture(kind)
    if kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[6:10] = struct.pack("<HH", side, side)
    return bytes(data)
