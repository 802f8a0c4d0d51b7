"""Peak memory of draws by the number of calls, and of comparisons by the number of cells and of images.

    .venv/bin/python benchmarks/memory.py > memory.md && mv memory.md benchmarks/results/memory.md

The network is that of configs/digits/flow.gin, untrained: the arithmetic is the same.  Each row is a new process; peaks
are above what it takes after the imports and one call of the network.
"""

import json
import subprocess
import sys
import tempfile

from machine import machine

CALLS, CELLS, COUNTS = (1, 4, 16, 64, 256), ((1, 1), (2, 2), (4, 4)), (1_000, 4_000, 10_000)
SAMPLERS = ("ddim", "dpmpp_2m", "unipc", "deis")
PEAK = """
from fewstep.cli.cpu import tune
tune()
import json, re, sys
from pathlib import Path
import jax, numpy as np
import fewstep
from fewstep.cli.config.load import experiment, find, load
from fewstep.diffusion import Cond
from fewstep.samplers import SAMPLERS, draw_many, table_at
from fewstep.train.data import digits


def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024


load(find("configs/digits/flow.gin"))
made = experiment()
(model, _), params = made.abstract((8, 8, 1), 10), made.params((8, 8, 1), 10)
den = model.denoiser(params)
names, calls, count, compared = json.loads(sys.argv[1])


def drawn(calls, name):
    cond = Cond(np.arange(count, dtype=np.int32) % 10)
    return draw_many(den, table_at(SAMPLERS[name], den.process, calls), range(count), (8, 8, 1), cond=cond)


drawn(1, "ddim")
before = peak()
if compared:
    fewstep.compare(den, data=digits(), samplers=names, nfe=calls, count=count, metrics="FD", out=sys.argv[2])
else:
    drawn(calls[0], names[0])
print(json.dumps(peak() - before))
"""


def grown(names, calls, count, compared, folder):
    """MB by which a process grows."""
    command = [sys.executable, "-c", PEAK, json.dumps([names, calls, count, compared]), folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Print a page of two tables."""
    print(f"# Memory\n\n    {__doc__.splitlines()[2].strip()}\n\n{machine()}.\n")
    print("Peak of drawing 256 digits by dpmpp_2m, above that of one call:\n")
    print("| calls | MB |\n| --- | --- |")
    for calls in CALLS:
        print(f"| {calls} | {grown(['dpmpp_2m'], [calls], 256, False, ''):.0f} |", flush=True)
    print("\nPeak of `compare`, FD-pixels, above that of one call:\n")
    print("| samplers | budgets | cells | images a cell | MB |\n| --- | --- | --- | --- | --- |")
    for samplers, budgets, count in [*((*cells, 500) for cells in CELLS), *((1, 1, count) for count in COUNTS)]:
        with tempfile.TemporaryDirectory() as folder:
            took = grown(SAMPLERS[:samplers], [4 * 2**k for k in range(budgets)], count, True, folder)
        print(f"| {samplers} | {budgets} | {samplers * budgets} | {count:,} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
