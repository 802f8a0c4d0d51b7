"""Bits per dimension of held-out images under the probability-flow ODE of a run, cached with the cells."""

from importlib.metadata import version
from typing import Any
from uuid import uuid4

import numpy as np

from fewstep.diffusion import Cond
from fewstep.evaluation import likelihood
from fewstep.evaluation.cells import Cells, Drawn, Extra, environment, source
from fewstep.evaluation.features import quantized
from fewstep.train.data.split import Batch, evenly_spaced
from fewstep.train.run.computation import computation
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import broadcast_from_main, is_main_process

# Functions here take a `train.run.Run` as `run`.
MOST = 256  # images, at most: each needs some hundred network passes


def held_out(run: Any, count: int) -> Batch:
    """min(count, all) evenly spaced held-out images of a run."""
    split = run.data.held_out
    return split[evenly_spaced(split, count)]


def labels_of(run: Any, images: Batch) -> Cond:
    """The labels of images, if the model is conditional."""
    return Cond(images.label.astype(np.int32) if run.denoiser.classes else None)


def flow_bits(run: Any, count: int, cells: Cells) -> np.ndarray:
    """Bits per dimension of up to MOST held-out images, (N,); all processes must call this."""
    batch = held_out(run, min(count, MOST))
    images, cond = quantized(batch.image), labels_of(run, batch)
    computed = computation(run.denoiser, run.shape, uuid4().hex)
    depends_on = environment(), source(likelihood), version("diffrax"), run.denoiser, computed, images, cond
    name, key = f"{run.name}-flow", digest(*depends_on)
    known = cells.load(name, key) if is_main_process() else None
    if broadcast_from_main(known is not None):
        return known.extra["bpd"].values if known else np.zeros(0)
    say(f"{run.name}: computing bits per dimension of {len(images)} held-out images")
    bits = likelihood.bits(run.denoiser, images, cond=cond)
    if is_main_process():
        none = np.zeros((0, *run.shape), np.uint8)
        cells.save(name, key, Drawn(none, True, np.zeros(0), 0, np.nan, {"bpd": Extra(key, bits)}))
    return bits
