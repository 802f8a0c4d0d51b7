"""Where the step grids put their points, and how near DDIM and 2M come to Gaussian data on them.

    .venv/bin/python benchmarks/grids.py docs/samplers/grids.png

Exact, without a network or noise (samplers/exact.py): the Frechet distance to data of variances 1 / k^2, k = 1..64, on
Stable Diffusion's process; prints it at ten steps.
"""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from fewstep.diffusion import Discrete
from fewstep.samplers import GRIDS, SAMPLERS, tabulate
from fewstep.samplers.exact import frechet, moments

PROCESS, MEAN, VAR = Discrete("scaled_linear"), np.zeros(64), 1 / np.arange(1, 65) ** 2
NAMES, COUNTS = ("ddim", "dpmpp_2m"), (3, 5, 7, 10, 14, 20, 28)
SHOWN = [name for name in GRIDS if name != "dp"]  # which is laid out by a trained network


def distance(sampler, grid, steps):
    """Between the sampler's output and the data."""
    table = tabulate(SAMPLERS[sampler](PROCESS, GRIDS[grid](PROCESS, steps)))
    return np.sqrt(frechet(moments(table, PROCESS, MEAN, VAR), MEAN, VAR))


def main(out):
    """Print a line a grid, and draw."""
    figure, (points, *curves) = plt.subplots(1, 3, figsize=(16, 5))
    for row, grid in enumerate(SHOWN):
        levels = PROCESS.lam(GRIDS[grid](PROCESS, 10)[:-1])
        points.plot(-levels, [row] * len(levels), "o")
        found = {name: [distance(name, grid, steps) for steps in COUNTS] for name in NAMES}
        for axes, name in zip(curves, NAMES, strict=True):
            axes.loglog(COUNTS, found[name], "-" if row < 9 else "--", color=f"C{row % 10}", label=grid)
        print(f"{grid:16}" + "".join(f"{name:>10} {found[name][COUNTS.index(10)]:.4f}" for name in NAMES))
    points.set(yticks=range(len(SHOWN)), yticklabels=SHOWN, xlabel="log(sigma / alpha) where ten steps begin")
    for axes, name in zip(curves, NAMES, strict=True):
        axes.set(title=name, xlabel="steps", ylabel="Frechet distance to Gaussian data")
        axes.set_xticks(COUNTS, COUNTS)
        axes.minorticks_off()
    curves[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    main(sys.argv[1])
