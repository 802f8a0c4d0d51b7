"""Plot of sample quality by network calls."""

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.report.plot import Panel, Points, plot


def curve(comparison: Comparison, kind: str, metric: str | None = None) -> bytes:
    """One panel per run, one line per sampler; `kind` is "png" or "svg"."""
    metric = metric or comparison.metrics[0]
    panels = [
        Panel(
            run,
            "network calls per image",
            {line: _points(comparison, run, line, metric) for line in comparison.drawn(run)},
            comparison.budgets,
        )
        for run in comparison.runs
    ]
    return plot(panels, metric, comparison.floors, kind)


def _points(comparison, run, line, metric):
    cells = [c for b in comparison.budgets if (c := comparison.cell(run, line, b)) and metric in c.metrics]
    return Points([c.nfe for c in cells], [c.metrics[metric] for c in cells])
