"""A comparison of 56 lines x 7 budgets, with images whose files are as large as they get."""

from itertools import product

import numpy as np

from fewstep.evaluation.comparison import Cell, Comparison
from fewstep.evaluation.estimate import Interval, estimate
from fewstep.evaluation.gaps import changes, gaps

BUDGETS, METRICS = [1, 2, 4, 8, 16, 32, 64], ["FD-pixels", "SW-pixels"]
SCALES, ETAS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 6), (0, 0.1, 0.2, 0.35, 0.5, 0.75, 1)


def large() -> Comparison:
    """One run; every combination of a guidance scale and an eta is a line."""
    rng = np.random.default_rng(0)
    measured, cells, previews = {}, [], {}
    for scale, eta, budget in product(SCALES, ETAS, BUDGETS):
        line = f"ddim cfg.scale={scale} ddim.eta={eta}"
        values = {m: estimate(0.1 + scale / budget + 0.05 * eta, rng.normal(0, 0.4, 100)) for m in METRICS}
        measured["digits", line, budget] = values
        swept = {"cfg.scale": str(scale), "ddim.eta": str(eta)}
        spent = Interval(0.2 * budget, 0.19 * budget, 0.25 * budget)
        metrics = {metric: value.interval(least=0.0) for metric, value in values.items()}
        cells.append(Cell("digits", line, "ddim", "uniform", swept, budget, budget, 2.0 * budget, spent, metrics))
        previews["digits", line, budget] = rng.integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    groups, lines = [["digits"]], list(dict.fromkeys(cell.line for cell in cells))
    return Comparison(
        command="fewstep compare runs/digits", runs=["digits"], groups=groups, lines=lines, budgets=BUDGETS,
        metrics=METRICS, cells=cells, gaps=gaps(measured, groups, BUDGETS, METRICS),
        changes=changes(measured, groups, METRICS), floors={"digits": {m: Interval(0.12, 0.1, 0.13) for m in METRICS}},
        notes=[], count=100, seed=0, repeats=1, levers=(), environment={}, memory={}, previews=previews,
    )  # fmt: skip
