"""What a whole comparison costs beside its bare network calls.

    .venv/bin/python benchmarks/comparison.py runs/digits

Compares 8 samplers at 7 budgets with 1,024 images of a run, everything after compilation included: draws, files,
distances with intervals, plots, page.  Before and after it the bare network is called on batches of the same size;
prints the time over (images x calls x bare time an image).
"""

from fewstep.cli.cpu import tune

tune()

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from fewstep.cli.config.open_run import open_run
from fewstep.diffusion import Cond
from fewstep.evaluation.compare import compare
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.metrics import BATCH, METRICS
from fewstep.evaluation.report import write
from fewstep.evaluation.report.table import render
from fewstep.samplers import SAMPLERS
from fewstep.samplers.loop import batch_of

NAMES = ("ddim", "heun", "dpmpp_2m", "dpmpp_3m", "unipc", "ddpm", "euler_maruyama", "dpmpp_2m_sde")
BUDGETS, COUNT, TURNS = [1, 2, 4, 8, 16, 32, 64], 1024, 40


def main():
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run on digits")
    parser.add_argument("--metric", default=",".join(METRICS), help="but trajectory, which makes more calls")
    arguments = parser.parse_args()
    run, metrics = open_run(arguments.run), arguments.metric.split(",")
    lines = [Line(name, SAMPLERS[name]) for name in NAMES]
    size = batch_of(COUNT, BATCH)

    def compared(budgets):
        with tempfile.TemporaryDirectory() as folder:
            about = {"command": "benchmarks/comparison.py", "environment": {}}
            begin = time.perf_counter()
            result = compare([run], lines, budgets, folder=Path(folder), metrics=metrics, count=COUNT, **about)
            write(folder, result)
            render(result)
            return result, time.perf_counter() - begin

    compared([1, 4])  # compiles
    before = bare(run.denoiser, size)
    result, spent = compared(BUDGETS)
    call = statistics.median([*before, *bare(run.denoiser, size)]) / size
    calls = sum(cell.nfe for cell in result.cells) * COUNT
    print(f"{len(result.cells)} cells, {calls:,} images x calls, metrics {arguments.metric}: {spent:.1f} s")
    print(f"bare network: {1e6 * call:.1f} us an image in batches of {size}, {calls * call:.1f} s in all")
    print(f"ratio {spent / (calls * call):.3f}")


def bare(den, size):
    """Seconds of each of TURNS calls."""
    call = jax.jit(lambda den, x, t, cond: den.model.network(den.params, x, t, None, cond, None))
    x, cond = jax.random.normal(jax.random.key(0), (size, 8, 8, 1)), Cond(np.arange(size, dtype=np.int32) % 10)
    call(den, x, np.float32(0.5), cond).block_until_ready()
    times = []
    for t in np.linspace(1, 0.1, TURNS, dtype=np.float32):
        begin = time.perf_counter()
        call(den, x, t, cond).block_until_ready()
        times.append(time.perf_counter() - begin)
    return times


if __name__ == "__main__":
    main()
