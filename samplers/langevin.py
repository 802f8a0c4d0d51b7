"""Predictor-corrector sampling with Langevin steps (Song et al. 2021, arXiv:2011.13456)."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.ancestral import ddpm
from fewstep.samplers.euler import classical, euler_maruyama
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

PREDICTORS = {"ddpm": ddpm, "reverse_sde": partial(euler_maruyama, w=classical)}


@checked
def langevin(
    process: Process,
    grid: np.ndarray,
    snr: Annotated[float, Range(above=0, below=1)] = 0.16,
    corrections: Annotated[int, Range(0, 10_000)] = 1,
    predictor: str = "ddpm",
) -> Iterator[Row]:
    """After each predictor step but the last: x <- x + delta score + sqrt(2 delta) z, with delta = 2 (snr sigma_s)^2.

    The published delta is 2 a (snr |z| / |score|)^2, with norms over a batch.  Here their ratio has its expected value,
    because a table has no norms and an image must not depend on its batch: |score| / |z| = 1/sigma.  a = 1 (published:
    1 - beta of a thousand steps, 0.98 or more).  predictor is 'ddpm' or 'reverse_sde' (Euler-Maruyama; requires a grid
    that starts where alpha > 0).

    1 + corrections calls per step, 1 on the last.  Langevin steps of a fixed size have a bias, here up to a factor
    1 / (1 - snr^2) in the variance of the noise, which finer grids do not remove: the order is 0.
    """
    if predictor not in PREDICTORS:
        raise UsageError(f"langevin.predictor is {' or '.join(map(repr, PREDICTORS))}, not {predictor!r}")
    for (_, s), row in zip(steps(grid), PREDICTORS[predictor](process, grid), strict=True):
        yield row
        if s != grid[-1]:
            sigma = process.sigma(s)
            yield from corrections * [Row(s, x=1.0, eps=-2 * snr**2 * sigma, noise=2 * snr * sigma)]
