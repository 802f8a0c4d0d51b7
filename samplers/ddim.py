"""DDIM (Song et al. 2020, arXiv:2010.02502)."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.ranges import Range, checked
from fewstep.samplers.brownian import Noise, along
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

Eta = Annotated[float, Range(0, 2)]


@checked
def ddim(process: Process, grid: np.ndarray, eta: Eta = 0.0, noise: Noise = "fresh") -> Iterator[Row]:
    """x_s = alpha_s x0 + kept eps + fresh z, with kept^2 + fresh^2 = sigma_s^2 (eq. 12 and 16).

    eta = 0 is deterministic (Euler's method in sigma/alpha), eta = 1 is DDPM; above that, the noise of a step is fresh
    up to all of it.  noise: brownian.py.
    """
    for t, s in steps(grid):
        kept, fresh = process.split_noise(t, s, eta)
        yield Row(t, x0=process.alpha(s), eps=kept, noise=fresh, path=along(noise, t, s))
