"""The result of a comparison, as plain data."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from fewstep.evaluation.estimate import Difference, Interval
from fewstep.evaluation.metrics import TRAINED, metric_info
from fewstep.train.utils.sealed import opened_json, sealed_json

Key = TypeVar("Key")
Row = tuple[str, str]  # a run and one of its lines


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
    """The metric of a line minus that of the best line at the same budget, of all runs of its group."""

    run: str
    line: str
    best_run: str
    best: str
    budget: int
    metric: str
    difference: Difference


@dataclass(frozen=True)
class Change:
    """The metric of a cell minus that of another one at another budget, of the same line or the best of all."""

    run: str
    line: str
    budget: int
    other_run: str
    other: str
    other_budget: int
    metric: str
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Cells of runs x lines x budgets; a missing cell is a budget for which the sampler has no table.

    A group is one table and one panel: its rows are the lines of all its runs.  `floors[run][metric]` is the metric of
    training images against the same held-out images, and for bpd that of the run's flow (`MetricInfo.reference_row`).
    With `repeats` > 1 a metric is its mean over that many sets of `count` seeds.  `images[run][name][metric]` is the
    metric of a set of images made elsewhere.  `previews[run, line, budget]` are the images of a few seeds, uint8
    (k, H, W, C), or points (N, 2).
    """

    command: str
    runs: list[str]
    groups: list[list[str]]  # the runs, those that share their data together
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
    classes: dict[str, list[str]] = field(default_factory=dict)  # run: names of the classes of its previews
    changes: list[Change] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)  # run: its record, of `models.model_record`
    commands: dict[str, dict[str, str]] = field(default_factory=dict)  # run: line: what draws it in N calls
    trained: dict[str, list[str]] = field(default_factory=dict)  # run: metrics on features that it was trained on
    previews: dict = field(default_factory=dict, compare=False, repr=False)

    def cell(self, run: str, line: str, budget: int) -> Cell | None:
        """The cell, or None if there is no table."""
        found = (c for c in self.cells if (c.run, c.line, c.budget) == (run, line, budget))
        return next(found, None)

    def title(self, group: Sequence[str]) -> str:
        """The name of a group."""
        return ", ".join(group)

    def label(self, group: Sequence[str], run: str, line: str) -> str:
        """The name of a row of a group: the line, after its run if the group has several."""
        return line if len(group) == 1 else f"{run} {line}"

    def is_evidence(self, run: str, metric: str) -> bool:
        """Whether a metric of a run tells how good it is: not on features that the run was trained on."""
        return metric not in self.trained.get(run, ())

    def marked(self, group: Sequence[str], run: str, line: str, metric: str) -> str:
        """The label of a row in a plot of a metric, which says whether the run was trained on it."""
        return self.label(group, run, line) + ("" if self.is_evidence(run, metric) else f" {TRAINED}")

    def rows(self, group: Sequence[str]) -> list[Row]:
        """The lines of all runs of a group, without those that only other runs have cells of."""
        known = {(c.run, c.line) for c in self.cells}
        shared = {line for _, line in known}
        return [(run, line) for run in group for line in self.lines if (run, line) in known or line not in shared]

    def floor(self, group: Sequence[str], metric: str) -> dict[str, Interval]:
        """By name: the metric of training images, or that of the flow of each run."""
        row, found = metric_info(metric).reference_row, {}
        for run in group:
            if metric in (here := self.floors.get(run, {})):
                found.setdefault(self.label(group, run, row) if row == "flow" else row, here[metric])
        return found

    def reference_rows(self, group: Sequence[str], metric: str) -> dict[str, Interval]:
        """What the cells of a group are compared with besides each other: its floor, and images made elsewhere."""
        sets = self.images.get(group[0], {})
        return self.floor(group, metric) | {name: values[metric] for name, values in sets.items() if metric in values}

    def best(self, group: Sequence[str], budget: int, metric: str) -> list[Row]:
        """The rows with the best value at this budget, of those whose value is evidence; several if they are equal."""
        here = (c for c in self.cells if c.run in group and c.budget == budget and metric in c.metrics)
        values = {(c.run, c.line): c.metrics[metric].value for c in here if self.is_evidence(c.run, metric)}
        return best_of(values, metric)

    def ties(self, group: Sequence[str], budget: int, metric: str) -> set[Row]:
        """The rows whose paired interval of the difference from the best contains 0."""
        close = (g for g in self._gaps(group, budget, metric) if g.difference.low <= 0 <= g.difference.high)
        return {(g.run, g.line) for g in close} - {*self.best(group, budget, metric)}

    def leaders(self, group: Sequence[str], metric: str) -> list[Gap]:
        """At every budget the gap of the second-best row."""
        gaps = ([g for g in self._gaps(group, b, metric) if math.isfinite(g.difference.value)] for b in self.budgets)
        return [min(here, key=lambda g: abs(g.difference.value)) for here in gaps if here]

    def _gaps(self, group, budget, metric):
        here = (g for g in self.gaps if (g.budget, g.metric) == (budget, metric))
        return [g for g in here if g.run in group and g.best_run in group]

    def to_json(self) -> str:
        """Everything but the previews; NaN (of images that are not finite) becomes null."""
        plain = asdict(replace(self, previews={}))
        del plain["previews"]
        return sealed_json(plain, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The inverse of `to_json`; ValueError if the text is damaged, or has changed."""
        return cls.from_plain(opened_json(text))

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Comparison":
        """From the value in the JSON text; in those of earlier versions every run is a group of its own."""
        for cell in plain["cells"]:
            cell |= {"metrics": _intervals(cell["metrics"]), "ms_per_image": _numbers(Interval, cell["ms_per_image"])}
        for gap in (*plain["gaps"], *plain.get("changes", [])):
            gap["difference"] = _numbers(Difference, gap["difference"])
        made = {
            "cells": [Cell(**cell) for cell in plain["cells"]],
            "gaps": [Gap(**gap) for gap in plain["gaps"]],
            "changes": [Change(**change) for change in plain.get("changes", [])],
            "floors": {run: _intervals(metrics) for run, metrics in plain["floors"].items()},
            "images": {
                run: {name: _intervals(metrics) for name, metrics in sets.items()}
                for run, sets in plain.get("images", {}).items()
            },
            "levers": tuple(plain["levers"]),
            "groups": plain.get("groups", [[run] for run in plain["runs"]]),
        }
        return cls(**plain | made)

    def to_csv(self) -> str:
        """One line per cell, then the reference rows."""
        fields = ["run", "line", "sampler", "grid", "swept", "budget", "nfe", "passes"]
        fields += ["ms_per_image", "ms_low", "ms_high"]
        columns = [metric + end for metric in self.metrics for end in ("", " low", " high")]
        rows: list[list[Any]] = [[*fields, *columns, "trained on"]]
        for c in self.cells:
            swept = " ".join(f"{name}={value}" for name, value in c.swept.items())
            rows.append([c.run, c.line, c.sampler, c.grid, swept, c.budget, c.nfe, c.passes, *c.ms_per_image])
            rows[-1] += [value for metric in self.metrics for value in c.metrics.get(metric, [""] * 3)]
            rows[-1].append(" ".join(self.trained.get(c.run, ())))
        for run in self.runs:
            references = {metric: self.reference_rows([run], metric) for metric in self.metrics}
            for name in dict.fromkeys(name for here in references.values() for name in here):
                rows.append([run, name, *[""] * 9])
                rows[-1] += [value for metric in self.metrics for value in references[metric].get(name, [""] * 3)]
                rows[-1].append("")
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
