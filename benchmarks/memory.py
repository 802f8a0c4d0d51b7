"""Peak memory of draws by the number of calls, and of comparisons by the number of cells and of images.

    .venv/bin/python benchmarks/memory.py > memory.md && mv memory.md benchmarks/results/memory.md

The network is untrained.py's.  Each row is a new process; peaks are above what it takes after the imports and one call
of ddim.
"""

from fewstep.cli.cpu import tune

tune()

import json
import subprocess
import sys
import tempfile

import untrained
from machine import machine, peak

import fewstep
from fewstep.samplers import SAMPLERS, draw_many, table_at
from fewstep.train.data import digits

CALLS, CELLS, COUNTS = (1, 4, 16, 64, 256), ((1, 1), (2, 2), (4, 4)), (1_000, 4_000, 10_000)
NAMES = ("ddim", "dpmpp_2m", "unipc", "deis")
GROWN = """
import json, sys
sys.path.insert(0, "benchmarks")
from memory import growth
print(growth(*json.loads(sys.argv[1])))
"""


def growth(names, calls, count, out):
    """MB by which this process grows as it draws, or if there is a folder `out` compares, above one call."""
    den = untrained.denoiser()

    def drawn(calls, name):
        table, cond = table_at(SAMPLERS[name], den.process, calls), untrained.labels(count)
        return draw_many(den, table, range(count), untrained.SHAPE, cond=cond)

    drawn(1, "ddim")
    before = peak()
    if out:
        fewstep.compare(den, data=digits(), samplers=names, nfe=calls, count=count, metrics="FD", out=out)
    else:
        drawn(calls[0], names[0])
    return (peak() - before) / 2**20


def grown(*asked):
    """`growth` in a new process."""
    command = [sys.executable, "-c", GROWN, json.dumps(asked)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main():
    """Print a page of two tables."""
    print(f"# Memory\n\n    {__doc__.splitlines()[2].strip()}\n\n{machine()}.\n")
    print("Peak of drawing 256 digits by dpmpp_2m, above that of the imports and one call of ddim:\n")
    print("| calls | MB |\n| --- | --- |")
    for calls in CALLS:
        print(f"| {calls} | {grown(['dpmpp_2m'], [calls], 256, None):.0f} |", flush=True)
    print("\nPeak of `compare`, FD-pixels, above the same:\n")
    print("| samplers | budgets | cells | images a cell | MB |\n| --- | --- | --- | --- | --- |")
    for samplers, budgets, count in [*((*cells, 500) for cells in CELLS), *((1, 1, count) for count in COUNTS)]:
        with tempfile.TemporaryDirectory() as folder:
            took = grown(NAMES[:samplers], [4 * 2**k for k in range(budgets)], count, folder)
        print(f"| {samplers} | {budgets} | {samplers * budgets} | {count:,} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
