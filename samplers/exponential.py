"""Exponential integrators in the half log-SNR, data form (Lu et al. 2022, arXiv:2211.01095)."""

import numpy as np

from samplers.steps import steps
from samplers.tableau import Row


def dpmpp_2m(process, grid, lower_final: bool | None = None):
    """DPM-Solver++(2M): x_s = (sigma_s / sigma_t) x - alpha_s expm1(-h) (D + (D - D_before) / (2 r)), r = h_before / h.

    First order on the first step, after a first step from alpha = 0 (its h is infinite), on a step to sigma = 0, and
    with `lower_final` on the last step (None: for grids of fewer than 15 steps, diffusers' rule).
    """
    pairs = steps(grid)
    lower = len(pairs) < 15 if lower_final is None else lower_final
    before = None
    for i, (t, s) in enumerate(pairs):
        h = process.lam(s) - process.lam(t)
        gain = process.alpha(s) * -np.expm1(-h)
        first_order = before is None or process.sigma(s) == 0 or (lower and i == len(pairs) - 1)
        lean = 0.0 if first_order else 0.5 * gain * h / before
        yield Row(t, x=process.sigma(s) / process.sigma(t), x0=gain + lean, past=(-lean,))
        before = h
