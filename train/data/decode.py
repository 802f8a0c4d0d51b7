"""Decoding of image files to pixels of one shape."""

import functools
import math
import os
import threading
import warnings
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Annotated, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fewstep.errors import UsageError
from fewstep.ranges import Among, Range
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import open_file
from fewstep.train.utils.memory import amount, free_memory

Side = Annotated[int, Range(1, 8192)]  # of square images, in pixels
Channels = Annotated[int, Among((1, 3))]  # 1 is grayscale, 3 colour
Pixels = Annotated[int, Range(1, 1 << 40)]  # of an image file
MOST_PIXELS = 1 << 26  # of an image file: 8192 x 8192
LARGE = 1 << 24  # pixels from which on one image is decoded at a time, and not in full if that is possible
BYTES_PER_PIXEL = 16  # while decoding, in all copies
PIXELS_PER_BYTE = 512  # of a JPEG file at most, with one bit for each block of 8 x 8
_ONE_LARGE = threading.Lock()

warnings.filterwarnings("ignore", module=r"PIL\.")  # about large images and malformed EXIF, which are still decoded


class BadImage(UsageError):
    """A file cannot be decoded; the message is the reason in a few words."""


def decode(file: Any, size: int | tuple, channels: int, max_pixels: int = MOST_PIXELS) -> np.ndarray:
    """Decode an image file (path or binary file) to uint8 (size, size, channels); size may be (height, width).

    The image is rotated by its EXIF orientation, composited over white, resized by Lanczos to cover the target and
    center-cropped.  16-bit levels are divided by 257; grayscale is ITU-R 601 luma; animations give their first frame.
    JPEG files of more than LARGE pixels are decoded at a lower resolution, still of three times the target or more.
    Raises BadImage if the file is not a valid image, if it has more than `max_pixels`, or if memory does not suffice.
    """
    with _opened(file, max_pixels, size) as image:
        return _fitted(_eight_bits(image), size, channels)


def whole(file: Any) -> np.ndarray:
    """An image file as `decode`, at its own size: uint8 (H, W, 1 or 3)."""
    with _opened(file, MOST_PIXELS) as image:
        image = _eight_bits(image)
        gray = image.mode in ("1", "L") and not image.has_transparency_data
        return _fitted(image, image.size[::-1], 1 if gray else 3)


def size_of(file: Any) -> tuple[int, int]:
    """The width and height of an opened image file, upright."""
    with Image.open(file, formats=_formats()) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8) else (width, height)


@contextmanager
def _opened(file, most, target=None):
    """The decoded image, upright."""
    try:
        with nullcontext(file) if hasattr(file, "read") else open_file(file) as data, ExitStack() as stack:
            length = data.seek(0, os.SEEK_END)
            data.seek(0)
            image = stack.enter_context(Image.open(data, formats=_formats()))
            if math.prod(image.size) > LARGE:
                stack.enter_context(_ONE_LARGE)
            _check_size(image, length, most)
            if target is not None and math.prod(image.size) > LARGE:
                image.draft(None, (3 * int(np.max(target)),) * 2)  # pyright: ignore[reportArgumentType]
            _check_memory(image)
            image.load()
            _turn_upright(image)
            yield image
    except BadImage:
        raise
    except Damaged as error:
        raise BadImage(error.reason.removeprefix("is ")) from None
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except Exception as error:  # decoders raise errors of any type
        if getattr(error, "errno", None):
            raise BadImage(str(getattr(error, "strerror", error)).lower()) from None
        raise BadImage("truncated" if "truncated" in str(error).lower() else "damaged") from None


def _check_size(image, length, most):
    pixels = math.prod(image.size)
    if pixels > most:
        raise BadImage(f"{pixels:,} pixels, more than max_pixels = {most}")
    if image.format in ("JPEG", "MPO") and pixels > length * PIXELS_PER_BYTE:
        raise BadImage("truncated")  # libjpeg would fill it up in grey


def _check_memory(image):
    pixels = math.prod(image.size)
    if pixels > LARGE and (needed := BYTES_PER_PIXEL * pixels) > (free := free_memory()):
        raise BadImage(f"needs {amount(needed)} of memory, and {amount(free)} are free")


@functools.cache
def _formats():
    """All formats but EPS, which is a program; common ones first."""
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def extensions() -> set[str]:
    """The file extensions of images: ".png", ..."""
    return {end for end, name in Image.registered_extensions().items() if name in _formats()}


def _turn_upright(image):
    with suppress(Exception):  # a malformed EXIF block has no orientation
        ImageOps.exif_transpose(image, in_place=True)


def _eight_bits(image):
    if image.mode == "F":
        raise BadImage("floating point, with an unknown white level")
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.int32)
    if levels.min() < 0 or levels.max() > 65535:
        raise BadImage("more than 16 bits")
    if isinstance(clear := image.info.get("transparency"), int):
        levels[levels == clear] = 65535
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def _fitted(image, size, channels):
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")  # other modes are converted to grayscale incorrectly
    if image.mode != (mode := "L" if channels == 1 else "RGB"):
        image = image.convert(mode)
    height, width = np.broadcast_to(size, 2).tolist()
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)).reshape(height, width, channels)
