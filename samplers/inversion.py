"""DDIM inversion: from an image to the noise that DDIM would have made it of (Song et al. 2020, arXiv:2010.02502)."""

from collections.abc import Iterator, Sequence

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.samplers.steps import ascending
from fewstep.samplers.tableau import Row


def ddim_inversion(process: Process, times: Sequence[float] | np.ndarray) -> Iterator[Row]:
    """The formula of ddim with s > t: x_s = alpha_s x0 + sigma_s eps, a call a step.  Order 1.

    `times` rise, from `lowest(process)` as a rule.  It is no sampler: it begins with data and ends with noise.
    """
    return (Row(t, x0=process.alpha(s), eps=process.sigma(s)) for t, s in ascending(times))


def lowest(process: Process) -> float:
    """Where the way up begins: the network is never called at t = 0.

    An image x0 is taken there as alpha x0: off by the square of sigma / (spread of the data) where the data are smooth.
    """
    return process.snr_ends[1] or 1e-3
