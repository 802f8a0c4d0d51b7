"""Quality against a swept number, as a plot."""

import math

from fewstep.evaluation.comparison import best_of
from fewstep.evaluation.report.plot import Panel, Points, plot

LEAST = 3  # values that make a curve


def sweep(comparison, kind, metric=None) -> bytes | None:
    """The `panels`, as "png" or "svg"; None where no number was swept."""
    metric = metric or comparison.metrics[0]
    found = panels(comparison, metric)
    return plot(found, metric, comparison.floors, kind) if found else None


def panels(comparison, metric) -> list[Panel]:
    """One panel a swept parameter and run, one line a budget and whatever else sets lines apart, its best ringed.

    Parameters are those with at least LEAST values, all numbers; lines that know no such parameter are left out.
    """
    found = [
        Panel(run, name, _lines(comparison, run, name, metric))
        for name in _parameters(comparison)
        for run in comparison.runs
    ]
    return [panel for panel in found if panel.lines]


def _parameters(comparison):
    values = {}
    for cell in comparison.cells:
        for name, text in cell.swept.items():
            values.setdefault(name, set()).add(_number(text))
    return [name for name, numbers in values.items() if None not in numbers and len(numbers) >= LEAST]


def _number(text):
    """Of a value as it was typed; None where it is none that an axis has."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _lines(comparison, run, name, metric):
    found = {}
    for cell in comparison.cells:
        if cell.run == run and name in cell.swept and metric in cell.metrics:
            text = cell.swept[name]
            label = f"{cell.line.replace(f' {name}={text}', '')}, {cell.budget} calls"
            found.setdefault(label, []).append((float(text), cell.metrics[metric]))
    return {label: _points(pairs, metric) for label, pairs in found.items()}


def _points(pairs, metric):
    x, values = zip(*sorted(pairs), strict=True)
    best = best_of({i: value.value for i, value in enumerate(values)}, metric)
    return Points(list(x), list(values), tuple(best))
