"""What guidance in an interval costs, in passes and in time.

    .venv/bin/python benchmarks/interval.py runs/flow

Draws the same batch in ten calls without guidance, in intervals of noise levels, and with guidance everywhere, in
turns, and prints passes and time, both over those without guidance.  Passes are counted; time says that those are
really skipped.
"""

from fewstep.cli.cpu import tune

tune()

import argparse
import statistics
import time

import jax

from fewstep.cli.config.open_run import open_run
from fewstep.diffusion.levers import cfg, interval
from fewstep.samplers import draw
from fewstep.samplers.cost import passes

WAYS = {
    "without": (),
    "interval(1, 3)": (cfg(2.0), interval(1.0, 3.0)),
    "interval(0.2, 2)": (cfg(2.0), interval(0.2, 2.0)),
    "everywhere": (cfg(2.0),),
}


def main():
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run with labels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=10)
    told = parser.parse_args()
    run = open_run(told.run)
    table, cond = run.table("dpmpp_2m", 10), run.labels(None, told.batch)
    dens = {name: run.under(levers) for name, levers in WAYS.items()}

    def timed(den):
        begin = time.perf_counter()
        draw(den, table, range(told.batch), run.shape, cond=cond).block_until_ready()
        return time.perf_counter() - begin

    for den in dens.values():
        timed(den)  # compiles
    found = {name: [] for name in dens}
    for _ in range(told.turns):
        for name, den in dens.items():
            found[name].append(timed(den))
    seconds = {name: statistics.median(times) for name, times in found.items()}
    cost = {name: passes(den, table) for name, den in dens.items()}
    print(f"dpmpp_2m in {table.nfe} calls, {told.batch} images at once, {jax.devices()[0].device_kind}:")
    for name in dens:
        ratio = seconds[name] / seconds["without"]
        print(
            f"  {name:18s} {cost[name]:4.0f} passes, {cost[name] / table.nfe:.2f} times those without; time {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
