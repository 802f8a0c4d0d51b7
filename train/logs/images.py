"""8-bit pixels, image grids, PNG files, and previews during training."""

import io
from collections.abc import Sequence

import numpy as np
from jax.sharding import Sharding
from PIL import Image, ImageDraw, ImageFont

from fewstep.diffusion import Cond
from fewstep.diffusion.denoiser import Denoiser
from fewstep.samplers import draw_many, preview_table

IMAGES, POINTS = 40, 1000  # per preview
TITLE, MARGIN = 15, 4  # pixels of the name of a column: above the images, and beside it
FONT = ImageFont.load_default(TITLE - 4)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as 8-bit pixels: trunc(clip(127.5 x + 128, 0, 255)), EDM's convention."""
    return np.clip(127.5 * np.asarray(images) + 128, 0, 255).astype(np.uint8)


def picture(
    images: np.ndarray, columns: int | None = None, names: Sequence[str] = (), scale: int | None = None
) -> np.ndarray | None:
    """Images (N, H, W, 1 or 3) as a grid (`sheet`), with the names of its columns if there are any; points (N, 2 or
    more) as a scatter plot; None for other shapes."""
    if images.ndim == 4 and images.shape[-1] in (1, 3):
        if names and scale is None:
            needed = max(FONT.getlength(name) for name in names) + MARGIN
            scale = max(_scale(images), int(np.ceil(needed / (images.shape[2] + 1))))
        grid = sheet(images, columns, scale)
        return titled(grid, names) if names else grid
    return scatter(images) if images.ndim == 2 and images.shape[1] >= 2 else None


def sheet(images: np.ndarray, columns: int | None = None, scale: int | None = None) -> np.ndarray:
    """Images (N, H, W, 1 or 3) in [-1, 1] as one uint8 grid; small images are enlarged by `scale`."""
    n, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    pixels = np.concatenate([to_uint8(images), np.zeros((rows * columns - n, height, width, channels), np.uint8)])
    pixels = np.pad(pixels, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=64)
    picture = pixels.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    picture = picture.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]
    scale = scale or _scale(images)
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def _scale(images):
    """By which small images are enlarged."""
    return max(1, 40 // max(images.shape[1:3]))


def titled(picture: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A uint8 picture (H, W, 1 or 3) of equal columns, with a name above each."""
    width = (picture.shape[1] + 1) // len(names)
    above = Image.new("L", (picture.shape[1], TITLE), "white")
    for i, name in enumerate(names):
        title = Image.new("L", (width - 1, TITLE), "white")  # which cuts the end of a long name off
        ImageDraw.Draw(title).text((1, 1), name, "black", FONT)
        above.paste(title, (i * width, 0))
    return np.concatenate([np.repeat(np.array(above)[..., None], picture.shape[2], axis=2), picture])


def scatter(points: np.ndarray) -> np.ndarray:
    """The first two coordinates of points (N, 2 or more) within [-1, 1], as a 256 x 256 scatter plot."""
    place = np.clip(np.nan_to_num(points[:, :2] + 1) * 127.5, 0, 255).astype(int)
    picture = np.full((256, 256, 1), 255, np.uint8)
    picture[255 - place[:, 1], place[:, 0]] = 0
    return picture


def png(picture: np.ndarray) -> bytes:
    """A uint8 image (H, W, 1 or 3) as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, "PNG")
    return buffer.getvalue()


def previewed(shape: tuple) -> int:
    """Samples per preview of data of this shape."""
    return IMAGES if len(shape) == 3 else POINTS


def preview(den: Denoiser, shape: tuple, sharding: Sharding | None) -> np.ndarray | None:
    """Samples of fixed seeds, with the classes in turn, by `preview_table(den)`; None as in `picture`."""
    count = previewed(shape)
    label = np.arange(count, dtype=np.int32) % den.classes if den.classes else None
    drawn = draw_many(den, preview_table(den), range(count), shape, cond=Cond(label), batch=count, sharding=sharding)
    return picture(drawn, columns=10)
