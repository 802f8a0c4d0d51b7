"""The Frechet distance while a network trains: what `compare` would say of it, without the interval."""

from collections.abc import Callable

import numpy as np

from evaluation.compare import BATCH, COUNT, conditions, held_out
from evaluation.distances import between, gaussian
from evaluation.features import kind, pixels
from samplers import SAMPLERS, draw_many, table_at

CALLS = 16  # network calls


def watch(data, sharding=None) -> Callable:
    """score(den) -> {"FD-pixels": distance to the held-out images}: the value of compare's cell of dpmpp_2m at CALLS.

    It is NaN where the images are not finite.  `sharding` is that of `draw_many`.
    """
    cond, real = conditions(data.train[:COUNT].label, COUNT), None

    def score(den) -> dict[str, float]:
        nonlocal real
        if real is None:
            real = gaussian(pixels(held_out(data)))
        table = table_at(SAMPLERS["dpmpp_2m"], den.process, CALLS)
        images = draw_many(den, table, range(COUNT), data.shape, cond=cond, batch=BATCH, sharding=sharding)
        finite = np.isfinite(images).all()
        return {f"FD-{kind(images)}": between(gaussian(pixels(images)), real) if finite else float("nan")}

    return score
