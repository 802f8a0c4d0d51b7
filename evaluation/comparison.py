"""The result of a comparison, as plain data."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from fewstep.evaluation.estimate import Difference, Interval
from fewstep.evaluation.metrics import metric_info
from fewstep.train.utils.files import dumps, loads

Key = TypeVar("Key")


@dataclass(frozen=True)
class Cell:
    """One line of a table (a sampler with its swept settings) at one budget.

    budget: the allowed number of network calls; nfe: the number used; passes: network passes per image.  ms_per_image:
    median, minimum and maximum over batches.
    """

    run: str
    line: str
    sampler: str
    grid: str
    swept: dict[str, str]  # {"cfg.scale": "2"}
    budget: int
    nfe: int
    passes: float
    ms_per_image: Interval
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Gap:
    """The metric of a line minus that of the best line at the same budget.

    The best line is that of the same run; or it is the best of all runs, and the line is the best of its run.
    """

    run: str
    line: str
    best_run: str
    best: str
    budget: int
    metric: str
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Cells of runs x lines x budgets; a missing cell is a budget for which the sampler has no table.

    `floors[run][metric]` is the metric of training images against the same held-out images, and for bpd that of the
    run's flow (`MetricInfo.reference_row`).  With `repeats` > 1 a metric is its mean over that many sets of `count`
    seeds.  `images[run][name][metric]` is the metric of a set of images made elsewhere.  `previews[run, line, budget]`
    are the images of a few seeds, uint8 (k, H, W, C), or points (N, 2).
    """

    command: str
    runs: list[str]
    lines: list[str]
    budgets: list[int]
    metrics: list[str]
    cells: list[Cell]
    gaps: list[Gap]
    floors: dict[str, dict[str, Interval]]
    notes: list[str]  # caveats for the reader
    count: int
    seed: int
    repeats: int
    levers: tuple[str, ...]
    environment: dict[str, str]
    memory: dict[str, int | None]  # peak bytes on a device after the cells of a run; None if unknown
    images: dict[str, dict[str, dict[str, Interval]]] = field(default_factory=dict)
    previews: dict = field(default_factory=dict, compare=False, repr=False)

    def cell(self, run: str, line: str, budget: int) -> Cell | None:
        """The cell, or None if there is no table."""
        found = (c for c in self.cells if (c.run, c.line, c.budget) == (run, line, budget))
        return next(found, None)

    def reference_rows(self, run: str, metric: str) -> dict[str, Interval]:
        """What the cells of a run are compared with besides each other: training images or the flow, and images made
        elsewhere."""
        floor = self.floors.get(run, {})
        rows = {metric_info(metric).reference_row: floor[metric]} if metric in floor else {}
        others = {name: values[metric] for name, values in self.images.get(run, {}).items() if metric in values}
        return rows | others

    def drawn(self, run: str) -> list[str]:
        """The lines of a run, without those that only other runs have cells of."""
        here, there = ({c.line for c in self.cells if (c.run == run) == own} for own in (True, False))
        return [line for line in self.lines if line in here or line not in there]

    def best(self, run: str, budget: int, metric: str) -> list[str]:
        """The lines with the best value at this budget; several if they are equal."""
        here = (c for c in self.cells if (c.run, c.budget) == (run, budget) and metric in c.metrics)
        values = {c.line: c.metrics[metric].value for c in here}
        return best_of(values, metric)

    def ties(self, run: str, budget: int, metric: str) -> set[str]:
        """The lines whose paired interval of the difference from the best contains 0."""
        gaps = self._within(run, budget, metric)
        return {g.line for g in gaps if g.difference.low <= 0 <= g.difference.high} - {*self.best(run, budget, metric)}

    def leaders(self, run: str, metric: str) -> list[Gap]:
        """At every budget the gap of the second-best line."""
        gaps = ([g for g in self._within(run, b, metric) if math.isfinite(g.difference.value)] for b in self.budgets)
        return [min(here, key=lambda g: abs(g.difference.value)) for here in gaps if here]

    def between(self, metric: str) -> list[Gap]:
        """At every budget the gaps between the best line of each run and the best of all runs."""
        return [g for g in self.gaps if g.run != g.best_run and g.metric == metric]

    def _within(self, run, budget, metric):
        return [g for g in self.gaps if (g.run, g.best_run, g.budget, g.metric) == (run, run, budget, metric)]

    def to_json(self) -> str:
        """Everything but the previews; NaN (of images that are not finite) becomes null."""
        plain = asdict(replace(self, previews={}))
        del plain["previews"]
        return dumps(plain, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The inverse of `to_json`."""
        plain = loads(text)
        for cell in plain["cells"]:
            cell |= {"metrics": _intervals(cell["metrics"]), "ms_per_image": _numbers(Interval, cell["ms_per_image"])}
        for gap in plain["gaps"]:
            gap["difference"] = _numbers(Difference, gap["difference"])
        made = {
            "cells": [Cell(**cell) for cell in plain["cells"]],
            "gaps": [Gap(**gap) for gap in plain["gaps"]],
            "floors": {run: _intervals(metrics) for run, metrics in plain["floors"].items()},
            "images": {
                run: {name: _intervals(metrics) for name, metrics in sets.items()}
                for run, sets in plain.get("images", {}).items()
            },
            "levers": tuple(plain["levers"]),
        }
        return cls(**plain | made)

    def to_csv(self) -> str:
        """One line per cell, then the reference rows."""
        fields = ["run", "line", "sampler", "grid", "swept", "budget", "nfe", "passes"]
        fields += ["ms_per_image", "ms_low", "ms_high"]
        rows: list[list[Any]] = [fields + [metric + end for metric in self.metrics for end in ("", " low", " high")]]
        for c in self.cells:
            swept = " ".join(f"{name}={value}" for name, value in c.swept.items())
            rows.append([c.run, c.line, c.sampler, c.grid, swept, c.budget, c.nfe, c.passes, *c.ms_per_image])
            rows[-1] += [value for metric in self.metrics for value in c.metrics.get(metric, [""] * 3)]
        for run in self.runs:
            references = {metric: self.reference_rows(run, metric) for metric in self.metrics}
            for name in dict.fromkeys(name for here in references.values() for name in here):
                rows.append([run, name, *[""] * 9])
                rows[-1] += [value for metric in self.metrics for value in references[metric].get(name, [""] * 3)]
        return _written(rows)

    def gaps_to_csv(self) -> str:
        """One line per gap."""
        rows: list[list[Any]] = [["run", "line", "best_run", "best", "budget", "metric", *Difference._fields]]
        rows += [[g.run, g.line, g.best_run, g.best, g.budget, g.metric, *g.difference] for g in self.gaps]
        return _written(rows)


def best_of(values: Mapping[Key, float], metric: str) -> list[Key]:
    """The keys of the best values of a metric, in order; several if they are equal up to rounding, and none if neither
    direction is better."""
    sign = {"lower": 1, "higher": -1, "": 0}[metric_info(metric).better]
    scores = {name: sign * value for name, value in values.items() if math.isfinite(value)}
    least = min(scores.values(), default=0.0)
    return [name for name, score in scores.items() if sign and score <= least + 1e-4 * abs(least)]


def _written(rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _numbers(kind, values):
    return kind(*(math.nan if v is None else v for v in values))


def _intervals(metrics):
    return {name: _numbers(Interval, values) for name, values in metrics.items()}
