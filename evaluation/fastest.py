"""How many images at once a denoiser predicts fastest on this machine."""

import time
from typing import Any

import jax
import numpy as np

from fewstep.diffusion.denoiser import JUMP, Cond, DenoiserLike
from fewstep.diffusion.predict import predict

LEAST = 0.2  # seconds of predictions of each size
SLOWER = 2  # sizes in a row that are slower than the fastest one, after which larger ones are not tried


def rates(
    den: DenoiserLike, shape: tuple[int, ...], most: int, sharding: jax.sharding.Sharding | None = None
) -> dict[int, float]:
    """{batch: predictions per second} of batches of the devices times 1, 2, 4, ... images, at most `most` and as many
    as fit into memory.  `sharding` is that of `draw_many`."""
    found, size = {}, 1 if sharding is None else sharding.num_devices
    while not found or (size <= most and size < max(found, key=found.__getitem__) << (SLOWER + 1)):
        try:
            found[size] = size / _seconds(den, (size, *shape), sharding)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or not found:
                raise
            break
        size *= 2
    return found


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
