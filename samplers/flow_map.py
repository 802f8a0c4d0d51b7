"""Samplers for models that learned to jump: from t to any s (shortcut, MeanFlow), or to the data (consistency)."""

from collections.abc import Iterator

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.samplers.ddim import ddim
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row


def flow_map(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """x_s = Phi_{t -> s}(x), where the learned map takes the state: ddim's steps with predictions for the jump (Frans
    et al. 2024, arXiv:2410.12557; Geng et al. 2025, arXiv:2505.13447)."""
    for (_, s), row in zip(steps(grid), ddim(process, grid), strict=True):
        yield row._replace(s=s)


def consistency(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """x_s = f(x), the jump to t = 0, and back up with fresh noise except after the last one (Song et al. 2023,
    arXiv:2303.01469 algorithm 1).

    Without the least noise level of a grid that goes on from there to the end of the process: the jump from it is next
    to nothing.
    """
    if len(grid) > 2 and grid[-2] == process.snr_ends[1]:
        grid = np.delete(grid, -2)
    alpha, sigma = process.alpha(0.0), process.sigma(0.0)
    for t, s in steps(grid):
        scale = process.alpha(s) / alpha
        noise = 0.0 if s == grid[-1] else process.sigma(s) ** 2 - (scale * sigma) ** 2
        yield Row(t, s=0.0, x0=scale * alpha, eps=scale * sigma, noise=np.sqrt(max(noise, 0.0)))
