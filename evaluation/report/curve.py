"""Plot of sample quality by network calls."""

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.report.plot import Panel, Points, plot


def curve(comparison: Comparison, kind: str, metric: str | None = None) -> bytes:
    """One panel per group of runs on the same data, one line per row; `kind` is "png" or "svg"."""
    metric = metric or comparison.metrics[0]
    panels = [
        Panel(
            comparison.title(group),
            "network calls per image",
            {
                comparison.marked(group, *row, metric): _points(comparison, *row, metric)
                for row in comparison.rows(group)
            },
            comparison.floor(group, metric),
            comparison.budgets,
        )
        for group in comparison.groups
    ]
    return plot(panels, metric, kind)


def _points(comparison, run, line, metric):
    cells = [c for b in comparison.budgets if (c := comparison.cell(run, line, b)) and metric in c.metrics]
    return Points([c.nfe for c in cells], [c.metrics[metric] for c in cells])
