"""The untrained network of configs/digits/flow.gin: its arithmetic is that of a trained one."""

import numpy as np

from fewstep.cli.config.load import experiment, find, load
from fewstep.diffusion import Cond
from fewstep.diffusion.denoiser import Denoiser

SHAPE, CLASSES = (8, 8, 1), 10


def denoiser() -> Denoiser:
    """Of 8x8 digits; calls may have other sides."""
    load(find("configs/digits/flow.gin"))
    made = experiment()
    return made.abstract(SHAPE, CLASSES)[0].denoiser(made.params(SHAPE, CLASSES))


def labels(count: int) -> Cond:
    """The classes in turn."""
    return Cond(np.arange(count, dtype=np.int32) % CLASSES)
