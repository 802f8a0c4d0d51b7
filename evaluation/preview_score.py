"""The Frechet distance during training: the value that `compare` would give, without the interval."""

from collections.abc import Callable

import numpy as np
from jax.sharding import Sharding

from fewstep.evaluation.distances import Frechet
from fewstep.evaluation.drawing import labels_to_draw
from fewstep.evaluation.features import Pixels, quantized
from fewstep.evaluation.metrics import BATCH, COUNT
from fewstep.evaluation.reference import reference
from fewstep.samplers import draw_many, preview_table
from fewstep.train.data.dataset import Dataset


def preview_score(data: Dataset, sharding: Sharding | None = None) -> Callable:
    """score(den) -> {"FD-pixels": distance to the held-out images}, the value of compare's cell of `preview_table`.

    It is NaN if the images are not finite, and {} without two held-out images, which a distance needs.  `sharding` is
    that of `draw_many`.
    """
    pixels, distance = Pixels(data.shape), None

    def score(den) -> dict[str, float]:
        nonlocal distance
        if len(data.held_out) < 2:
            return {}
        if distance is None:
            distance = Frechet(pixels(reference(data, COUNT).held_out))
        table, cond = preview_table(den), labels_to_draw(den, data, COUNT)
        images = draw_many(den, table, range(COUNT), data.shape, cond=cond, batch=BATCH, sharding=sharding)
        finite = np.isfinite(images).all()
        value = distance(pixels(quantized(images)))["FD"].value if finite else float("nan")
        return {f"FD-{pixels.name}": value}

    return score
