"""A source of image files that are decoded when they are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.train.data.decode import BadImage, decode


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images decoded to size x size with 1 or 3 channels; labels (N,) int32 or None.

    Subclasses implement `__len__`, `files` and `refusal`.
    """

    labels: np.ndarray | None
    size: int
    channels: int
    max_pixels: int
    in_memory = False

    @property
    def shape(self) -> tuple:
        return (self.size, self.size, self.channels)

    def __len__(self) -> int:
        raise NotImplementedError

    def files(self, indices: np.ndarray) -> Iterable[Any]:
        """For each index the argument of `decode`, or None for a missing image."""
        raise NotImplementedError

    def refusal(self, i: int, reason: BadImage) -> str:
        """The error message for image i, which cannot be decoded."""
        raise NotImplementedError

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        images = np.empty((len(indices), *self.shape), np.uint8)
        for row, (file, i) in enumerate(zip(self.files(indices), indices, strict=True)):
            try:
                if file is None:
                    raise BadImage("missing")
                images[row] = decode(file, self.size, self.channels, self.max_pixels)
            except BadImage as error:
                raise UsageError(self.refusal(i, error)) from None
        return images, None if self.labels is None else self.labels[indices]
