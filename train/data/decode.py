"""Decoding of image files to pixels of one shape."""

import functools
import numbers
import warnings
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fewstep.errors import UsageError

warnings.filterwarnings("ignore", module=r"PIL\.")  # about large images and malformed EXIF, which are still decoded


class BadImage(UsageError):
    """A file cannot be decoded; the message is the reason in a few words."""


def check_form(size: int, channels: int) -> None:
    """Raises UsageError for an invalid size or number of channels."""
    if not isinstance(size, numbers.Integral) or size < 1:
        raise UsageError(f"size = {size!r}: give the side of the square images in pixels, at least 1")
    if channels not in (1, 3):
        raise UsageError(f"channels = {channels!r}: use 1 for grayscale or 3 for color")


def decode(file: Any, size: int | tuple, channels: int) -> np.ndarray:
    """Decode an image file (path or binary file) to uint8 (size, size, channels); size may be (height, width).

    The image is rotated by its EXIF orientation, composited over white, resized by Lanczos to cover the target and
    center-cropped.  16-bit levels are divided by 257; grayscale is ITU-R 601 luma; animations give their first frame.
    Raises BadImage if the file is not a valid image.
    """
    with _opened(file) as image:
        return _fitted(_eight_bits(_upright(image)), size, channels)


def whole(file: Any) -> np.ndarray:
    """An image file as `decode`, at its own size: uint8 (H, W, 1 or 3)."""
    with _opened(file) as image:
        image = _eight_bits(_upright(image))
        gray = image.mode in ("1", "L") and not image.has_transparency_data
        return _fitted(image, image.size[::-1], 1 if gray else 3)


@contextmanager
def _opened(file):
    try:
        with Image.open(file, formats=_formats()) as image:
            image.load()
            yield image
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except Exception as error:  # decoders raise errors of any type
        if getattr(error, "errno", None):
            raise BadImage(str(getattr(error, "strerror", error)).lower()) from None
        raise BadImage("truncated" if "truncated" in str(error).lower() else "damaged") from None


@functools.cache
def _formats():
    """All formats but EPS, which is a program; common ones first."""
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def extensions() -> set[str]:
    """The file extensions of images: ".png", ..."""
    return {end for end, name in Image.registered_extensions().items() if name in _formats()}


def _upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a malformed EXIF block has no orientation
        return image


def _eight_bits(image):
    if image.mode == "F":
        raise BadImage("floating point, with an unknown white level")
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise BadImage("more than 16 bits")
    if isinstance(clear := image.info.get("transparency"), int):
        levels[levels == clear] = 65535
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def _fitted(image, size, channels):
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")  # other modes are converted to grayscale incorrectly
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = np.broadcast_to(size, 2).tolist()
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)).reshape(height, width, channels)
