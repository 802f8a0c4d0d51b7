"""Samplers for models that learned to jump: from t to any s (shortcut, MeanFlow), or from t to the data (consistency)."""

from samplers.ddim import ddim
from samplers.steps import steps
from samplers.tableau import Row


def flow_map(process, grid):
    """x_s = Phi_{t -> s}(x), where the learned map takes the state; ddim's steps with predictions for the jump (Frans et
    al. 2024, arXiv:2410.12557; Geng et al. 2025, arXiv:2505.13447)."""
    for (_, s), row in zip(steps(grid), ddim(process, grid), strict=True):
        yield row._replace(s=s)


def consistency(process, grid):
    """x_s = alpha_s f(x) + sigma_s z: to the data in one jump, and back up with fresh noise (Song et al. 2023,
    arXiv:2303.01469 algorithm 1)."""
    for t, s in steps(grid):
        yield Row(t, s=0.0, x0=process.alpha(s), noise=process.sigma(s))
