"""Plot of sample quality by a swept parameter."""

import math

from fewstep.evaluation.comparison import Comparison, best_of
from fewstep.evaluation.report.plot import Panel, Points, plot

LEAST = 3  # values of a curve, at least


def sweep(comparison: Comparison, kind: str, metric: str | None = None) -> bytes | None:
    """The plot of `panels` as "png" or "svg"; None if no number was swept."""
    metric = metric or comparison.metrics[0]
    found = panels(comparison, metric)
    return plot(found, metric, kind) if found else None


def panels(comparison: Comparison, metric: str) -> list[Panel]:
    """One panel per swept parameter and group of runs, with one line per run, budget and combination of other settings;
    the best point of each line is marked.

    A parameter needs at least LEAST values, all of them numbers; lines without the parameter are omitted.
    """
    found = [
        Panel(comparison.title(group), name, _lines(comparison, group, name, metric), comparison.floor(group, metric))
        for name in _parameters(comparison)
        for group in comparison.groups
    ]
    return [panel for panel in found if panel.lines]


def _parameters(comparison):
    values = {}
    for cell in comparison.cells:
        for name, text in cell.swept.items():
            values.setdefault(name, set()).add(_number(text))
    return [name for name, numbers in values.items() if None not in numbers and len(numbers) >= LEAST]


def _number(text):
    """The number that a text denotes; None if it is not a finite number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _lines(comparison, group, name, metric):
    found = {}
    for cell in comparison.cells:
        if cell.run in group and name in cell.swept and metric in cell.metrics:
            text = cell.swept[name]
            line = cell.line.replace(f" {name}={text}", "")
            label = f"{comparison.marked(group, cell.run, line, metric)}, {cell.budget} calls"
            found.setdefault(label, []).append((float(text), cell.metrics[metric]))
    return {label: _points(pairs, metric) for label, pairs in found.items()}


def _points(pairs, metric):
    x, values = zip(*sorted(pairs), strict=True)
    best = best_of({i: value.value for i, value in enumerate(values)}, metric)
    return Points(list(x), list(values), tuple(best))
