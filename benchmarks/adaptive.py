"""How far images are from the flow as `dopri5` at 1e-6 solves it, by network calls: adaptive steps and tables.

    .venv/bin/python benchmarks/adaptive.py runs/digits docs/samplers/adaptive.png

The flow is that of `draw_adaptive` at REFERENCE.  Prints a line a method, with the mean calls and the root mean square
distance over SEEDS, and writes the picture.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from fewstep import open_run
from fewstep.samplers.adaptive import METHODS, draw_adaptive

SEEDS, REFERENCE = range(16), 1e-6
TOLERANCES, CALLS = (1e-2, 1e-3, 1e-4, 1e-5), (8, 16, 32, 64, 128)
TABLES = ("dpmpp_2m", "dpmpp_3m", "heun")


def main(folder, out):
    """Print a line a method, and write the picture."""
    run = open_run(folder)
    cond = run.labels(None, len(SEEDS))

    def solved(tolerance, method="dopri5"):
        return draw_adaptive(run.denoiser, SEEDS, run.shape, tolerance=tolerance, method=method, cond=cond)

    exact, lines = solved(REFERENCE).images, {}
    for name in TABLES:
        lines[name] = [(calls, run.draw(name, calls, SEEDS)) for calls in CALLS]
    for method in METHODS:
        found = [solved(tolerance, method) for tolerance in TOLERANCES]
        lines[f"{method}, adaptive"] = [(one.calls.mean(), one.images) for one in found]
    _, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, line in lines.items():
        calls, images = zip(*line, strict=True)
        away = [np.sqrt(((drawn - exact) ** 2).mean()) for drawn in images]
        print(f"{name:18}" + "".join(f"{at:8.1f}: {error:.1e}" for at, error in zip(calls, away, strict=True)))
        axes.plot(calls, away, "o--" if name in TABLES else "s-", label=name, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="network calls per image", ylabel="distance from dopri5 at 1e-6")
    axes.set_xticks(CALLS, CALLS, minor=False)
    axes.legend()
    axes.grid(alpha=0.3)
    plt.savefig(out, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
