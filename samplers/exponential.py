"""Exponential integrators in the half log-SNR, data form (Lu et al. 2022, arXiv:2211.01095)."""

import numpy as np

from samplers.steps import multistep
from samplers.tableau import Row


def dpmpp_2m(process, grid, lower_final: bool | None = None):
    """DPM-Solver++(2M): x_s = (sigma_s / sigma_t) x - alpha_s expm1(-h) (D + (D - D_before) / (2 r)), r = h_before / h.

    First order on the first step, after a first step from alpha = 0 (its h is infinite), on a step to sigma = 0, and
    with `lower_final` on the last step (None: for grids of fewer than 15 steps, diffusers' rule).
    """
    for t, s, before in multistep(process, grid, 2, lower_final):
        h = process.lam(s) - process.lam(t)
        gain = process.alpha(s) * -np.expm1(-h)
        lean = 0.5 * gain * h / (process.lam(t) - process.lam(before[0])) if before else 0.0
        yield Row(t, x=process.sigma(s) / process.sigma(t), x0=gain + lean, past=(-lean,))
