"""DDIM inversion: from an image to the noise from which DDIM generates it (Song et al. 2020, arXiv:2010.02502)."""

from collections.abc import Iterator, Sequence

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.samplers.steps import ascending
from fewstep.samplers.tableau import Row


def ddim_inversion(process: Process, times: Sequence[float] | np.ndarray) -> Iterator[Row]:
    """The formula of ddim with s > t: x_s = alpha_s x0 + sigma_s eps, one call per step.  Order 1.

    `times` increase, usually from `lowest(process)`.  This is not a sampler: it starts from data and ends with noise.
    """
    return (Row(t, x0=process.alpha(s), eps=process.sigma(s)) for t, s in ascending(np.asarray(times)))


def lowest(process: Process) -> float:
    """The first time of an inversion: the network is never called at t = 0.

    The state there is alpha x0, with an error of order (sigma / std of the data)^2 for smooth data.
    """
    return process.snr_ends[1] or 1e-3
