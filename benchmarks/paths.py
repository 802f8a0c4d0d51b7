"""One image by more and more calls of an SDE sampler: with noise of one Brownian path per image, and with fresh noise.

    .venv/bin/python benchmarks/paths.py runs/digits docs/samplers/paths.png

Prints how far the images move, as the root mean square over 256 seeds, from each number of calls to the next.
"""

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from fewstep import open_run
from fewstep.samplers import SAMPLERS
from fewstep.train.logs.images import png, sheet

CALLS, NAME, SEEDS, SHOWN = (4, 8, 16, 32, 64, 128, 256), "dpmpp_2m_sde", 256, 3


def images(run, noise):
    """Images at each number of calls, (N, B, H, W, C)."""
    sampler = SAMPLERS[NAME]
    sampler = replace(sampler, rows=partial(sampler.rows, noise=noise), title=NAME)
    return np.stack([run.draw(sampler, calls, range(SEEDS)) for calls in CALLS])


def main(folder, out):
    """Print a line a kind of noise, and write the picture: a row an image, a column a number of calls."""
    run, rows = open_run(folder), []
    for noise in ("path", "fresh"):
        drawn = images(run, noise)
        moved = [np.sqrt(((a - b) ** 2).mean()) for a, b in pairwise(drawn)]
        print(f"{noise:6}" + "".join(f"{x:8.4f}" for x in moved))
        rows.append(drawn[:, :SHOWN].swapaxes(0, 1))
    shown = np.concatenate(rows).reshape(-1, *drawn.shape[2:])
    with open(out, "wb") as file:
        file.write(png(sheet(shown, columns=len(CALLS))))


if __name__ == "__main__":
    main(*sys.argv[1:])
