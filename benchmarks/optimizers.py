"""All optimizers on the digits: each at a few rates and one seed, then each best rate at three seeds.

    .venv/bin/python benchmarks/optimizers.py runs/optimizers 400

Trains configs/digits/flow.gin for that many steps, in runs/optimizers, and prints the loss (the mean over the last
fifth of the steps), FD-pixels at 8 calls of dpmpp_2m with its 95 % interval over images, and the time of a step; then
for three seeds the means and the half-widths of 95 % intervals over seeds (Student's t).  Runs that are finished are
not trained again.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.stats import t

from fewstep.cli import cpu

cpu.tune()

from fewstep.cli.options import Overrides
from fewstep.cli.verbs import train
from fewstep.evaluation.comparison import Comparison

RATES = {
    "adamw": (1e-3, 2e-3, 4e-3),
    "lion": (1e-4, 3e-4, 1e-3),
    "muon": (2e-3, 5e-3, 1e-2),
    "tiger": (1e-2, 3e-2),
    "amos": (3e-2, 1e-1),
}
SEEDS, CALLS = 3, 8


def trained(folder, steps, name, rate, seed):
    """The folder of a run."""
    run = folder / f"{name}-{rate:g}-{seed}"
    if (run / "curve.png").exists():  # drawn at the end of training
        return run
    settings = [f"train.optimizer=@{name}", f"{name}.lr={rate}", f"train.seed={seed}", f"train.steps={steps}"]
    settings += [f"train.save_every={steps}", f"train.preview_every={10 * steps}"]
    train.main("configs/digits/flow.gin", str(run), Overrides(set=settings), None, None)
    return run


def logged(run, steps):
    """(loss, milliseconds per step)."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["images_per_s"] for line in lines if "images_per_s" in line]
    return np.mean([line["loss"] for line in lines if line["step"] > 0.8 * steps]), 64_000 / np.median(speeds)


def distances(runs, out):
    """{name of a run: FD, an Interval}."""
    words = ["compare", *runs, "--sampler", "dpmpp_2m", "--nfe", CALLS, "--metric", "FD", "--out", out, "--json"]
    command = [sys.executable, "-m", "fewstep.cli.main", *map(str, words)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {cell.run: next(iter(cell.metrics.values())) for cell in Comparison.from_json(found).cells}


def interval(values):
    """ "mean +- half-width" of a 95 % interval."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} +- {half:.3f}"


def main(folder, steps):
    """Print a line for each rate, and then for each best one."""
    folder, steps = Path(folder), int(steps)
    folder.mkdir(parents=True, exist_ok=True)
    runs = {(name, rate): trained(folder, steps, name, rate, 0) for name, rates in RATES.items() for rate in rates}
    found = distances(runs.values(), folder / "rates")
    print("optimizer  rate     loss    FD                      ms per step")
    for (name, rate), run in runs.items():
        (loss, time), fd = logged(run, steps), found[run.name]
        print(
            f"{name:<9}  {rate:<7g}  {loss:.4f}  {fd.value:.3f} [{fd.low:.3f}, {fd.high:.3f}]  {time:.0f}", flush=True
        )
    for name, rates in RATES.items():
        rate = min(rates, key=lambda rate, name=name: found[runs[name, rate].name].value)
        seeds = [trained(folder, steps, name, rate, seed) for seed in range(SEEDS)]
        fds = distances(seeds, folder / f"seeds-{name}")
        losses = interval([logged(run, steps)[0] for run in seeds])
        fds = interval([fd.value for fd in fds.values()])
        print(f"{name:<9}  {rate:<7g}  loss {losses}  FD {fds}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
