"""How probable a run's flow finds held-out images, kept among the cells of a comparison."""

from importlib.metadata import version

import numpy as np

from fewstep.diffusion import Cond
from fewstep.evaluation import likelihood
from fewstep.evaluation.cells import Cells, Drawn, Extra, environment, source
from fewstep.evaluation.features import quantized
from fewstep.train.data.split import Batch
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.multihost import broadcast_from_main, is_main_process
from fewstep.train.utils.progress import say

MOST = 256  # images: each takes some hundred passes


def held_out(run, count) -> Batch:
    """So many of a run's held-out images, evenly among them, or all."""
    split = run.data.held_out
    return split[np.linspace(0, len(split) - 1, min(len(split), count)).astype(int)]


def labels_of(run, some) -> Cond:
    """The labels of images, where the model was told any."""
    return Cond(some.label.astype(np.int32) if run.denoiser.classes else None)


def flow_bits(run, count, cells: Cells) -> np.ndarray:
    """Bits per dimension of up to MOST held-out images, (N,); of several processes all call it."""
    some = held_out(run, min(count, MOST))
    images, cond = quantized(some.image), labels_of(run, some)
    of = environment(), source(likelihood), version("diffrax"), run.denoiser, images, cond
    name, key = f"{run.name}-flow", digest(*of)
    known = cells.load(name, key) if is_main_process() else None
    if broadcast_from_main(known is not None):
        return known.extra["bpd"].values if known else np.zeros(0)
    say(f"{run.name}: bits per dimension of {len(images)} held-out images by the flow")
    bits = likelihood.bits(run.denoiser, images, cond=cond)
    if is_main_process():
        cells.save(
            name, key, Drawn(np.zeros((0, *run.shape), np.uint8), True, np.zeros(0), 0, {"bpd": Extra(key, bits)})
        )
    return bits
