"""All optimizers on the digits: each at three rates and one seed, then each best rate at three seeds.

    .venv/bin/python benchmarks/optimizers.py runs/optimizers 900
    .venv/bin/python benchmarks/optimizers.py runs/optimizers 900 adamw muon

Trains configs/digits/flow.gin for that many steps, in runs/optimizers, and prints rows of tables: the loss after equal
steps, that after the time of the fastest run (where the rates of slower ones have not fallen to 0 yet), FD-pixels at 8
calls of dpmpp_2m with its 95 % interval over images, and the time of a step; then for three seeds the means with the
half-widths of 95 % intervals over seeds (Student's t), and those of the differences to the first optimizer, seed by
seed. Names after the steps choose optimizers. Runs that are finished are not trained again.
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
    "lion": (3e-4, 1e-3, 3e-3),
    "muon": (2e-3, 5e-3, 1e-2),
    "tiger": (3e-3, 1e-2, 3e-2),
    "amos": (1e-2, 3e-2, 1e-1),
}
SEEDS, CALLS, LAST = 3, 8, 0.2


def trained(folder, steps, name, rate, seed):
    """The folder of a run."""
    run = folder / f"{name}-{rate:g}-{seed}"
    if (run / "curve.png").exists():  # drawn at the end of training
        return run
    settings = [f"train.optimizer=@{name}", f"{name}.lr={rate}", f"train.seed={seed}", f"train.steps={steps}"]
    settings += [f"train.save_every={steps}", f"train.preview_every={10 * steps}"]
    train.main("configs/digits/flow.gin", str(run), Overrides(set=settings), None, None)
    return run


def logged(run):
    """The losses, and the seconds of training at which they were logged, without compilation."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "images_per_s" in line]
    steps = np.diff([line["step"] for line in lines], prepend=0)
    return np.array([line["loss"] for line in lines]), np.cumsum(64 * steps / [line["images_per_s"] for line in lines])


def final(run, until=np.inf):
    """The mean loss over the last fifth of the time, up to so many seconds."""
    losses, times = logged(run)
    until = min(until, times[-1])
    return losses[(times > (1 - LAST) * until) & (times <= until)].mean()


def distances(runs, out):
    """{name of a run: FD, an Interval}."""
    words = ["compare", *runs, "--sampler", "dpmpp_2m", "--nfe", CALLS, "--metric", "FD", "--out", out, "--json"]
    command = [sys.executable, "-m", "fewstep.cli.main", *map(str, words)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {cell.run: next(iter(cell.metrics.values())) for cell in Comparison.from_json(found).cells}


def interval(values):
    """ "mean ± half-width" of a 95 % interval."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.4f} ± {half:.4f}"


def main(folder, steps, *names):
    """Print a row for each rate, and then for each best one."""
    folder, steps = Path(folder), int(steps)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {name: RATES[name] for name in names or RATES}
    runs = {(name, rate): trained(folder, steps, name, rate, 0) for name, rates in chosen.items() for rate in rates}
    found = distances(runs.values(), folder / "rates")
    shortest = min(logged(run)[1][-1] for run in runs.values())
    print(f"| | rate | loss | after {shortest:.0f} s | FD at {CALLS} calls | ms per step |\n|---|---|---|---|---|---|")
    for (name, rate), run in runs.items():
        fd, time = found[run.name], 1000 * logged(run)[1][-1] / steps
        cells = f"{final(run):.4f} | {final(run, shortest):.4f} | {fd.value:.3f} ({fd.low:.3f} to {fd.high:.3f})"
        print(f"| {name} | {rate:g} | {cells} | {time:.0f} |")
    print("\n| | rate | loss | minus the first | FD | minus the first |\n|---|---|---|---|---|---|", flush=True)
    first = None
    for name, rates in chosen.items():
        rate = min(rates, key=lambda rate, name=name: found[runs[name, rate].name].value)
        seeds = [trained(folder, steps, name, rate, seed) for seed in range(SEEDS)]
        fds = distances(seeds, folder / f"seeds-{name}")
        both = np.array([[final(run), fds[run.name].value] for run in seeds]).T
        first = both if first is None else first
        paired = [""] * 2 if first is both else map(interval, both - first)
        cells = [cell for pair in zip(map(interval, both), paired, strict=True) for cell in pair]
        print(f"| {name} | {rate:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
