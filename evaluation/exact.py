"""Comparisons on Gaussian data in closed form: without a network and without sampling noise, in milliseconds."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.evaluation.comparison import Cell, Comparison
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.estimate import Interval
from fewstep.samplers import exact, table_at
from fewstep.samplers.steps import NoTable

METRIC = "FD-exact"
UNTIMED = Interval(np.nan, np.nan, np.nan)


def spectrum(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (d,) of images (N, ...) in the eigenbasis of their covariance, and its eigenvalues (d,)."""
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return x.mean(0) @ vectors, np.maximum(values, 0.0)


def compare_exactly(
    data: Mapping[str, tuple], lines: Sequence[Line], budgets: Sequence[int], **about: Any
) -> Comparison:
    """Cells for Gaussian data x lines x budgets: the squared Frechet distance of the samples of a table to the data.

    data: {name: (process, mean (d,), var (d,), unit)}; distances are in units of `unit`.  `about` are further fields of
    `Comparison`.  Raises UsageError if no sampler has a table at any budget.
    """
    cells, refusal = [], None
    for name, line, budget in product(data, lines, budgets):
        process, mean, var, unit = data[name]
        grid = line.grid_for(process)
        try:
            table = table_at(line.sampler, process, budget, line.grids.get(grid))
        except NoTable as error:
            refusal = error
            continue
        value = exact.frechet(exact.moments(table, process, mean, var), mean, var) / unit**2
        at = (name, line.name, line.sampler.name, grid, dict(line.swept), budget, table.nfe)
        cells.append(Cell(*at, float(table.nfe), UNTIMED, {METRIC: Interval(value, value, value)}))
    if not cells:
        raise UsageError(f"no sampler has a table at any of these budgets: {refusal}")
    return Comparison(
        runs=list(data), groups=[[name] for name in data], lines=[line.name for line in lines], budgets=list(budgets),
        metrics=[METRIC], cells=cells, gaps=[], floors={}, notes=[], count=0, seed=0, repeats=1, levers=(), memory={},
        **about,
    )  # fmt: skip
