"""Samplers for models that learned jumps: from t to any s (shortcut, MeanFlow), or to the data (consistency)."""

from collections.abc import Iterator

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.ranges import Share, checked
from fewstep.samplers.ddim import ddim
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row


def flow_map(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """x_s = Phi_{t -> s}(x), the learned flow map: ddim's steps with predictions for the jump (Frans et al. 2024,
    arXiv:2410.12557; Geng et al. 2025, arXiv:2505.13447)."""
    for (_, s), row in zip(steps(grid), ddim(process, grid), strict=True):
        yield row._replace(s=s)


@checked
def gamma(process: Process, grid: np.ndarray, gamma: Share = 0.3) -> Iterator[Row]:
    """Jumps beyond s, to sqrt(1 - gamma^2) of its sigma / alpha but not below t = 0, followed by fresh noise up to s;
    the last jump goes to s (Kim et al. 2023, arXiv:2310.02279).

    gamma = 0 is flow_map, 1 is consistency on processes that end at t = 0.
    """
    floor = process.sigma(0.0) / process.alpha(0.0)
    for t, s in steps(grid):
        alpha, sigma = process.alpha(s), process.sigma(s)
        kept = 1.0 if s == grid[-1] else max(np.sqrt((1 - gamma) * (1 + gamma)), floor * alpha / sigma)
        lowest = kept * sigma <= floor * alpha
        between = 0.0 if lowest else s if kept == 1 else process.time(process.lam(s) - np.log(kept))
        yield Row(t, s=between, x0=alpha, eps=kept * sigma, noise=np.sqrt((1 - kept) * (1 + kept)) * sigma)


def consistency(process: Process, grid: np.ndarray) -> Iterator[Row]:
    """x_s = f(x), the jump to t = 0, followed by fresh noise up to s except after the last jump (Song et al. 2023,
    arXiv:2303.01469 algorithm 1).

    Leaves out the last time but one of a grid that ends with the step from `snr_ends` to the end of the process: the
    jump from there changes almost nothing.
    """
    if len(grid) > 2 and grid[-2] == process.snr_ends[1]:
        grid = np.delete(grid, -2)
    alpha, sigma = process.alpha(0.0), process.sigma(0.0)
    for t, s in steps(grid):
        scale = process.alpha(s) / alpha
        noise = 0.0 if s == grid[-1] else process.sigma(s) ** 2 - (scale * sigma) ** 2
        yield Row(t, s=0.0, x0=scale * alpha, eps=scale * sigma, noise=np.sqrt(max(noise, 0.0)))
