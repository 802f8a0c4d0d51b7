"""How many images at once a denoiser predicts fastest on this machine."""

import time
from typing import Any

import jax
import numpy as np

from fewstep.diffusion.denoiser import JUMP, Cond, DenoiserLike
from fewstep.diffusion.predict import predict

LEAST = 0.2  # seconds of predictions of each size
LONGEST = 3.0  # seconds of a prediction, after which larger batches are not tried
GAIN = 1.03  # a larger batch is chosen if it is faster by this factor
SLOWER = 2  # sizes in a row that are not chosen, after which larger ones are not tried


def fastest(
    den: DenoiserLike, shape: tuple[int, ...], most: int, sharding: jax.sharding.Sharding | None = None
) -> tuple[int, dict[int, float]]:
    """(the batch that is fastest, {batch: images per second}) of predictions of images of a shape.

    The sizes tried are 1, 2, 4, ... images on each device, at most `most` in all.  Where memory ends them, half of what
    fits is the most that is chosen: sampling and guidance need more than a prediction.  `sharding` is that of
    `draw_many`.
    """
    found: dict[int, float] = {}
    size = chosen = 1 if sharding is None else sharding.num_devices
    while not found or (size <= most and size <= chosen << SLOWER):
        try:
            took = _seconds(den, (size, *shape), sharding)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not found or not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
                raise
            return min(chosen, max(max(found) // 2, min(found))), found
        found[size] = size / took
        if found[size] > GAIN * found[chosen]:
            chosen = size
        if took > LONGEST:
            break
        size *= 2
    return chosen, found


def _seconds(den, shape, sharding):
    """The least time of a prediction, after it is compiled."""
    images = jax.device_put(np.zeros(shape, np.float32), sharding)
    label: Any = jax.device_put(np.zeros(shape[0], np.int32), sharding) if den.classes else None
    t = np.float32(np.mean(den.process.ends))
    least, begun = np.inf, 0.0
    for turn in range(1000):
        begin = time.perf_counter()
        jax.block_until_ready(predict(den, images, t, t if JUMP in den.capabilities else None, Cond(label)))
        now = time.perf_counter()
        if turn == 0:
            begun = now
            continue
        least = min(least, now - begin)
        if now - begun > LEAST:
            break
    return least
