"""A source whose images are decoded as they are read."""

from dataclasses import dataclass

import numpy as np

from fewstep.diffusion.errors import UsageError
from fewstep.train.data.decode import BadImage, decode


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images of any kind as size x size with 1 or 3 channels; labels (N,) int32 or None.

    Subclasses have a length, `files(indices)` (what `decode` opens, or None, for each index), and `refusal(i, why)`:
    the message for image i where it cannot be decoded.
    """

    labels: np.ndarray | None
    size: int
    channels: int
    in_memory = False

    @property
    def shape(self):
        return (self.size, self.size, self.channels)

    def read(self, indices):
        images = np.empty((len(indices), *self.shape), np.uint8)
        for image, file, i in zip(images, self.files(indices), indices, strict=True):
            try:
                if file is None:
                    raise BadImage("missing")
                image[:] = decode(file, self.size, self.channels)
            except BadImage as error:
                raise UsageError(self.refusal(i, error)) from None
        return images, None if self.labels is None else self.labels[indices]
