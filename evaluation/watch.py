"""The Frechet distance while a network trains: what `compare` would say of it, without the interval."""

from collections.abc import Callable

import numpy as np

from evaluation.compare import conditions
from evaluation.distances import between, gaussian
from evaluation.features import kind, pixels
from samplers import SAMPLERS, draw_many, table_at

COUNT, CALLS, BATCH = 500, 16, 250  # images, network calls, images at once: `compare` has the same


def watch(data) -> Callable:
    """score(den) -> {"FD-pixels": distance to the held-out images}: the value of compare's cell of dpmpp_2m at CALLS.

    It is NaN where the images are not finite.
    """
    cond, name, held_out = conditions(data, COUNT), f"FD-{kind(data.held_out.images)}", None

    def score(den) -> dict[str, float]:
        nonlocal held_out
        if held_out is None:
            held_out = gaussian(pixels(data.held_out.images))
        table = table_at(SAMPLERS["dpmpp_2m"], den.process, CALLS)
        images = draw_many(den, table, np.arange(COUNT), data.shape, cond=cond, batch=BATCH)
        finite = np.isfinite(images).all()
        return {name: between(gaussian(pixels(images)), held_out) if finite else float("nan")}

    return score
