"""How the time of sampling grows: with images, calls, resolution and devices, and what a comparison adds to it.

    .venv/bin/python benchmarks/growth.py > growth.md && mv growth.md benchmarks/results/growth.md

The network is untrained.py's, with attention at half of any side.  An exponent is the slope of log time against log
size.  Devices are forced ones, which share the cores: their row says what dividing a
batch costs, not what more devices gain.
"""

from fewstep.cli.cpu import tune

tune()

import subprocess
import sys
import tempfile
from functools import partial

import jax
import numpy as np
import untrained
from machine import machine, seconds, spread

import fewstep
from fewstep.samplers import SAMPLERS, draw_many, table_at
from fewstep.train.data import digits
from fewstep.train.sharding import batch_sharding, make_mesh

IMAGES, CALLS, SIDES, DEVICES = (64, 256, 1024, 4096), (1, 4, 16, 64, 256), (16, 32, 64, 128), (1, 2, 4, 8)
TURNS, CELL, BATCH = 3, 10_000, 250
TIMED = """
import sys
sys.path.insert(0, "benchmarks")
import untrained
from growth import drawing, forced_devices, TURNS
from machine import seconds
sharding = forced_devices(int(sys.argv[1]))
run = drawing(untrained.denoiser(), 8, 8, 256, sharding)
run()
print(min(seconds(run) for _ in range(TURNS)))
"""


def forced_devices(count):
    """The sharding of a batch over so many forced devices; before JAX has started."""
    jax.config.update("jax_num_cpu_devices", count)
    return batch_sharding(make_mesh((-1, 1, 1)))


def drawing(den, side, calls, count, sharding=None):
    """A function that draws `count` images in so many calls of ddim."""
    table, options = table_at(SAMPLERS["ddim"], den.process, calls), {"batch": BATCH, "sharding": sharding}
    return partial(draw_many, den, table, range(count), (side, side, 1), cond=untrained.labels(count), **options)


def timed(runs):
    """{size: least seconds of the turns}, which are interleaved."""
    for run in runs.values():
        run()
    spent = {size: [] for size in runs}
    for _ in range(TURNS):
        for size, run in runs.items():
            spent[size].append(seconds(run))
    return {size: min(times) for size, times in spent.items()}


def told(title, spent, unit, amount):
    """Print a table of microseconds per unit, with the exponent."""
    slope = np.polyfit(np.log(list(spent)), np.log(list(spent.values())), 1)[0]
    print(f"\n## {title}\n\n| | {' | '.join(map(str, spent))} |\n| --- |{' --- |' * len(spent)}")
    print(f"| {unit} | {' | '.join(f'{1e6 * took / amount(size):.3g}' for size, took in spent.items())} |")
    print(f"\nThe exponent is {slope:.2f}.", flush=True)


def compared(den, folder, turn, count=CELL):
    """A comparison of one cell of `count` images in 16 calls."""
    data, out = digits(), f"{folder}/{turn}"
    fewstep.compare(den, data=data, samplers="ddim", nfe=16, count=count, batch=BATCH, metrics="FD", out=out)


def main():
    """Print a page of tables."""
    print(f"# Growth\n\n    {__doc__.splitlines()[2].strip()}\n\n{machine()}.")
    print(f"Microseconds, the least of {TURNS} turns.")
    den = untrained.denoiser()
    images = {count: drawing(den, 8, 8, count) for count in IMAGES}
    told("Images, in 8 calls", timed(images), "per image", lambda count: count)
    calls = {count: drawing(den, 8, count, 64) for count in CALLS}
    told("Calls, of 64 images", timed(calls), "per image and call", lambda count: 64 * count)
    sides = {side: drawing(den, side, 2, 4) for side in SIDES}
    told("Side, of 4 images in 2 calls", timed(sides), "per pixel and call", lambda side: 8 * side * side)
    devices = {}
    for count in DEVICES:
        done = subprocess.run([sys.executable, "-c", TIMED, str(count)], stdout=subprocess.PIPE, text=True, check=True)
        devices[count] = float(done.stdout.splitlines()[-1])
    told("Forced devices, 256 images in 8 calls", devices, "per image", lambda _: 256)
    draws = drawing(den, 8, 16, CELL)
    with tempfile.TemporaryDirectory() as folder:
        compared(den, folder, "first", 2 * BATCH)  # compiles
        spent = [(seconds(partial(compared, den, folder, turn)), seconds(draws)) for turn in range(TURNS)]
    whole, drawn = zip(*spent, strict=True)
    share = spread([1 - draw / all_of_it for all_of_it, draw in spent], 3)
    print(
        f"\n## A comparison\n\nA cell of {CELL:,} images in 16 calls of ddim, FD-pixels: {spread(whole, 1)} s; the "
        f"same draws take {spread(drawn, 1)} s.\nThe share of a comparison that is not drawing: {share}.  It has a "
        f"batch of {BATCH} images more, which warms up."
    )


if __name__ == "__main__":
    main()
