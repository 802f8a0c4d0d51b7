"""The result of a comparison, as plain data."""

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, field, replace

from evaluation.distances import Interval
from train.files import dumps


@dataclass(frozen=True)
class Cell:
    """One sampler at one budget: `budget` is what was allowed, `nfe` the network calls used."""

    run: str
    sampler: str
    grid: str
    budget: int
    nfe: int
    passes: float
    ms_per_image: float
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Comparison:
    """Cells of runs x samplers x budgets; a missing cell is a budget for which the sampler has no table.

    floors[run][metric] is the distance of training images to the same held-out images.  previews[run, sampler, budget]
    holds a few seeds, uint8 (k, H, W, C), or all points (N, 2).
    """

    command: str
    runs: list[str]
    samplers: list[str]
    budgets: list[int]
    cells: list[Cell]
    floors: dict[str, dict[str, Interval]]
    count: int
    seed: int
    levers: tuple[str, ...]
    environment: dict[str, str]
    previews: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics."""
        return list(next(iter(self.floors.values())))

    def cell(self, run, sampler, budget) -> Cell | None:
        """The cell, or None where there is no table."""
        found = (c for c in self.cells if (c.run, c.sampler, c.budget) == (run, sampler, budget))
        return next(found, None)

    def best(self, run, budget, metric) -> set[str]:
        """The samplers with the smallest distance at this budget: several where they differ by rounding alone."""
        here = {c.sampler: c.metrics[metric].value for c in self.cells if (c.run, c.budget) == (run, budget)}
        finite = [value for value in here.values() if math.isfinite(value)]
        return {name for name, value in here.items() if finite and value <= min(finite) * (1 + 1e-4)}

    def to_json(self) -> str:
        """Everything but the previews; the distances of a cell that diverged are null."""
        plain = asdict(replace(self, previews={}))
        del plain["previews"]
        return dumps(plain, indent=1) + "\n"

    @classmethod
    def from_json(cls, text) -> "Comparison":
        """The inverse of `to_json`."""
        plain = json.loads(text)
        cells = [Cell(**cell | {"metrics": _intervals(cell["metrics"])}) for cell in plain["cells"]]
        floors = {run: _intervals(metrics) for run, metrics in plain["floors"].items()}
        return cls(**plain | {"cells": cells, "floors": floors, "levers": tuple(plain["levers"])})

    def to_csv(self) -> str:
        """One line a cell, then one a floor."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        ends = ("", " low", " high")
        rows.writerow(
            ["run", "sampler", "grid", "budget", "nfe", "passes", "ms_per_image"]
            + [metric + end for metric in self.metrics for end in ends]
        )
        for c in self.cells:
            values = [value for metric in self.metrics for value in c.metrics[metric]]
            rows.writerow([c.run, c.sampler, c.grid, c.budget, c.nfe, c.passes, c.ms_per_image, *values])
        for run, floor in self.floors.items():
            rows.writerow([run, "floor", *[""] * 5, *(value for metric in self.metrics for value in floor[metric])])
        return out.getvalue()


def _intervals(metrics):
    return {name: Interval(*(math.nan if v is None else v for v in values)) for name, values in metrics.items()}
