"""The search of `fewstep recommend` against drawing every candidate.

    .venv/bin/python benchmarks/recommend.py runs/digits --out OUT
    .venv/bin/python benchmarks/recommend.py runs/fashion --sampler ddim,heun,dpmpp_2m,unipc --grid uniform,karras \\
        --out OUT

Draws all candidates of `recommend` on as many seeds as all searches together, then searches on each part of these
seeds, so that the rounds of a search find their images drawn; only the comparison of its two best is on other seeds.
Prints the winner of all seeds with its interval, and of each search its winner, the distance of that one on all seeds,
and the share of images that the search would have drawn.
"""

from fewstep.cli.cpu import tune

tune()

import argparse
from pathlib import Path

from etils import epath

from fewstep.cli.config.open_run import open_run
from fewstep.cli.options import Opening
from fewstep.cli.verbs.recommend import candidates
from fewstep.evaluation.cells import Cells
from fewstep.evaluation.drawing import Seeds
from fewstep.evaluation.estimate import difference
from fewstep.evaluation.features import Pixels
from fewstep.evaluation.measure import MetricEvaluator, metric_name
from fewstep.evaluation.recommend import SEARCHED, SET, Measured, affordable, recommend
from fewstep.evaluation.reference import reference


def measured_on_all(run, lines, args, features):
    """{name: Estimate} of all candidates on the seeds of all searches."""
    sets = args.searches * args.count // SET
    real = reference(run.data, args.searches * args.count)
    evaluator = MetricEvaluator(["FD"], [features], run.denoiser.classes, real, run.folder / "stats")
    chosen, seeds = affordable(run, lines, args.passes), Seeds(SET, 0, sets, 256)
    cells = Cells(epath.Path(args.out) / "cells")
    measure = Measured(run, chosen, cells, evaluator, metric_name("FD", features), seeds)
    return measure([one.line.name for one in chosen], sets, SEARCHED)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--sampler")
    parser.add_argument("--grid")
    parser.add_argument("--sweep", action="append", default=[])
    parser.add_argument("--count", type=int, default=1000, help="images per candidate of a search, a multiple of 125")
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    run = open_run(args.run)
    features = Pixels(run.data.shape)
    opening = Opening(set=[], trust=[], step=None)
    lines = [line for line, _ in candidates(run, args.sampler, args.grid, [], args.sweep, opening).values()]
    every = measured_on_all(run, lines, args, features)
    ranked = sorted(every, key=lambda name: every[name].value)
    best, interval = every[ranked[0]], every[ranked[0]].interval(0)
    whole = args.searches * args.count
    print(f"{len(every)} candidates, {whole} images each: the best at {args.passes} passes is {ranked[0]},")
    print(f"FD {interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f}); then {', '.join(ranked[1:4])}\n")
    print("| search | winner | its FD on all seeds | minus the best, paired | inside | decided | images |")
    print("|---|---|---|---|---|---|---|")
    for k in range(args.searches):
        folder, first = epath.Path(args.out), SEARCHED + k * args.count
        found = recommend(run, lines, args.passes, folder=folder, features=features, count=args.count, seed=first)
        won = every[found.winner]
        apart = difference(won, best)
        inside = "yes" if interval.low <= won.value <= interval.high else "no"
        paired = f"{apart.value:.4f} ({apart.low:.4f} to {apart.high:.4f})"
        decided = "yes" if found.decided else "no"
        share = found.drawn / found.exhaustive
        row = f"| {k + 1} | {found.winner} | {won.value:.4f} | {paired} | {inside} | {decided} | {share:.0%} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
