"""The images of a comparison as small files in its page: one strip of the same seeds for each cell."""

import base64
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fewstep.train.logs.images import png, scatter

MOST = 5_000_000  # bytes of all strips


class Strip(NamedTuple):
    """A picture of `seeds` images side by side, as a data URI."""

    uri: str
    seeds: int


def strips(previews: Mapping[Any, np.ndarray], most: int = MOST) -> dict[Any, Strip]:
    """The strips of uint8 images (k, H, W, 1 or 3), and scatter plots of points (N, 2 or more); others have none.

    They are exact (PNG) if all of them fit into `most` bytes; else WebP, of fewer seeds where that is too much.
    """
    shown = {at: found for at, images in previews.items() if (found := _pictures(images)) is not None}
    count = max((len(images) for images in shown.values()), default=0)
    files = {at: ("png", png(_beside(images))) for at, images in shown.items()}
    while sum(len(data) for _, data in files.values()) > most and count > 1:
        if next(iter(files.values()))[0] == "webp":
            count = (count + 1) // 2
        files = {at: ("webp", _webp(_beside(images[:count]))) for at, images in shown.items()}
    uris = {at: f"data:image/{kind};base64,{base64.b64encode(data).decode()}" for at, (kind, data) in files.items()}
    return {at: Strip(uri, min(count, len(shown[at]))) for at, uri in uris.items()}


def _pictures(images):
    """uint8 pictures (k, H, W, 1 or 3)."""
    if images.ndim == 2:
        return scatter(images)[None] if images.shape[1] >= 2 else None
    return images if images.shape[-1] in (1, 3) else None


def _beside(images):
    return np.concatenate([*images], axis=1)


def _webp(picture):
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(picture, (*picture.shape[:2], 3))).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
