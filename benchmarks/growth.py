"""How the time of sampling grows: with images, calls, resolution and devices, and what a comparison adds to it.

    .venv/bin/python benchmarks/growth.py > growth.md && mv growth.md benchmarks/results/growth.md

The network is that of configs/digits/flow.gin, untrained: the arithmetic is the same.  An exponent is the slope of log
time against log size, 1 if time is proportional to size.  Devices are forced ones, which share the cores: their row
says what dividing a batch costs, not what more devices gain.
"""

import subprocess
import sys
import tempfile
from functools import partial

import numpy as np
from machine import machine, seconds

IMAGES, CALLS, SIDES, DEVICES = (64, 256, 1024, 4096), (1, 4, 16, 64, 256), (16, 32, 64, 128), (1, 2, 4, 8)
TURNS, CELL = 3, 10_000
TIMED = """
import sys
from fewstep.cli.cpu import tune
tune()
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
sys.path.insert(0, "benchmarks")
from growth import drawing, network, TURNS
from machine import seconds
from fewstep.train.sharding import batch_sharding, make_mesh
run = drawing(network((8, 8, 1)), (8, 8, 1), 8, 256, batch_sharding(make_mesh((-1, 1, 1))))
run()
print(min(seconds(run) for _ in range(TURNS)))
"""


def network(shape):
    """The untrained denoiser for images of this shape."""
    from fewstep.cli.config.load import experiment, find, load

    load(find("configs/digits/flow.gin"))
    made = experiment()
    return made.abstract(shape, 10)[0].denoiser(made.params(shape, 10))


def drawing(den, shape, calls, count, sharding=None, batch=256):
    """A function that draws `count` images in so many calls of ddim."""
    from fewstep.diffusion import Cond
    from fewstep.samplers import SAMPLERS, draw_many, table_at

    table, cond = table_at(SAMPLERS["ddim"], den.process, calls), Cond(np.arange(count, dtype=np.int32) % 10)
    return lambda: draw_many(den, table, range(count), shape, cond=cond, batch=batch, sharding=sharding)


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
    """Print a table of time per unit, with the exponent."""
    slope = np.polyfit(np.log(list(spent)), np.log(list(spent.values())), 1)[0]
    print(f"\n## {title}\n\n| | {' | '.join(map(str, spent))} |\n| --- |{' --- |' * len(spent)}")
    print(f"| {unit} | {' | '.join(f'{1e6 * took / amount(size):.3g}' for size, took in spent.items())} |")
    print(f"\nThe exponent is {slope:.2f}.", flush=True)


def compared(den, folder):
    """Seconds of a comparison of one cell of CELL images in 16 calls, and of the same draws."""
    import fewstep
    from fewstep.train.data import digits

    data = digits()
    for count in (256, CELL):  # the first compiles
        spent = seconds(partial(
            fewstep.compare, den, data=data, samplers="ddim", nfe=16, count=count, metrics="FD", out=f"{folder}/{count}"
        ))  # fmt: skip
    return spent, seconds(drawing(den, (8, 8, 1), 16, CELL))


def main():
    """Print a page of tables."""
    print(
        f"# Growth\n\n    {__doc__.splitlines()[2].strip()}\n\n{machine()}.  Microseconds; the least of {TURNS} turns."
    )
    small = (8, 8, 1)
    den = network(small)
    told(
        "Images, in 8 calls and batches of 256",
        timed({count: drawing(den, small, 8, count) for count in IMAGES}), "per image", lambda count: count,
    )  # fmt: skip
    told(
        "Calls, of 64 images",
        timed({calls: drawing(den, small, calls, 64) for calls in CALLS}), "per image and call",
        lambda calls: 64 * calls,
    )  # fmt: skip
    told(
        "Side of an image, 4 at once in 2 calls",
        timed({side: drawing(network((side, side, 1)), (side, side, 1), 2, 4) for side in SIDES}),
        "per pixel and call", lambda side: 8 * side * side,
    )  # fmt: skip
    devices = {}
    for count in DEVICES:
        done = subprocess.run([sys.executable, "-c", TIMED, str(count)], capture_output=True, text=True, check=True)
        devices[count] = float(done.stdout.splitlines()[-1])
    told("Forced devices, 256 images in 8 calls", devices, "per image", lambda count: 256)
    with tempfile.TemporaryDirectory() as folder:
        whole, draws = compared(den, folder)
    print(
        f"\n## A comparison\n\nA cell of {CELL:,} images in 16 calls of ddim, FD-pixels: {whole:.1f} s; the same draws "
        f"take {draws:.1f} s, so the share of {1 - draws / whole:.3f} is not drawing."
    )


if __name__ == "__main__":
    main()
