"""Image files of any kind as pixels of one shape."""

import functools
import numbers
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fewstep.diffusion.errors import UsageError

warnings.filterwarnings("ignore", module=r"PIL\.")  # of large images and odd EXIF blocks, which are read all the same


class BadImage(UsageError):
    """Why a file gives no image, in a word or two."""


def check_form(size, channels):
    """UsageError for a form that images cannot be brought into."""
    if not isinstance(size, numbers.Integral) or size < 1:
        raise UsageError(f"size = {size!r}: give the side of the square images in pixels, at least 1")
    if channels not in (1, 3):
        raise UsageError(f"channels = {channels!r}: 1 is grey, 3 is colour")


def decode(file, size, channels) -> np.ndarray:
    """An image file (path or binary file) as uint8 (size, size, channels); BadImage where it holds none.  A size may be
    (height, width).

    Turned upright as its EXIF says, transparency over white, scaled by Lanczos to cover the square, the rest cut off
    evenly.  16-bit levels are divided by 257; colour becomes grey by ITU-R 601 luma; of an animation the first frame.
    """
    try:
        with Image.open(file, formats=_formats()) as image:
            image.load()
            return _fitted(_eight_bits(_upright(image)), size, channels)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except Exception as error:  # decoders raise anything at all
        if getattr(error, "errno", None):
            raise BadImage(error.strerror.lower()) from None
        raise BadImage("truncated" if "truncated" in str(error).lower() else "damaged") from None


@functools.cache
def _formats():
    """All but EPS, which is a program; the usual ones first."""
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def extensions() -> set[str]:
    """How the names of images end: ".png", ..."""
    return {end for end, name in Image.registered_extensions().items() if name in _formats()}


def _upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a malformed EXIF block tells no orientation
        return image


def _eight_bits(image):
    if image.mode == "F":
        raise BadImage("floating point, whose white is unknown")
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
        image = image.convert("RGB")  # no mode but these three becomes grey the right way
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = np.broadcast_to(size, 2).tolist()
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)).reshape(height, width, channels)
