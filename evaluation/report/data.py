"""A comparison as the numbers and texts of its page."""

import math
from collections.abc import Iterable
from typing import Any

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.metrics import metric_info, name_and_features, on_several_features
from fewstep.evaluation.report.answer import apart, headline, may_be_zero, progress, verdict
from fewstep.evaluation.report.strips import strips
from fewstep.evaluation.report.sweep import panels
from fewstep.evaluation.report.table import BETTER

FIRST = 8  # the budget shown first where there is no answer


def page_data(comparison: Comparison) -> dict[str, Any]:
    """What the script of the page draws: groups with rows, cells, verdicts and sweeps; plain data without NaN."""
    return {
        "metrics": [
            {"name": name, "better": metric_info(name).better, "note": BETTER[metric_info(name).better]}
            for name in comparison.metrics
        ],
        "features": [
            {"name": name, "metrics": same, "on": [name_and_features(metric)[1] for metric in same]}
            for name, same in on_several_features(comparison.metrics).items()
        ],
        "budgets": comparison.budgets,
        "exact": not comparison.count,
        "groups": [_group(comparison, group) for group in comparison.groups],
    }


def _group(comparison, group):
    rows = comparison.rows(group)
    pictures = strips({at: images for at, images in comparison.previews.items() if at[0] in group})
    seeds = min((strip.seeds for strip in pictures.values()), default=0)
    first = next((images for at, images in comparison.previews.items() if at in pictures), None)
    return {
        "title": comparison.title(group),
        "rows": [
            {
                "label": comparison.label(group, run, line),
                "run": run,
                "trained": comparison.trained.get(run, []),
                "command": comparison.commands.get(run, {}).get(line),
                "progress": {metric: progress(comparison, run, line, metric) for metric in comparison.metrics},
            }
            for run, line in rows
        ],
        "cells": [
            _cell(comparison, cell, rows.index((cell.run, cell.line)), pictures)
            for cell in comparison.cells
            if cell.run in group
        ],
        "references": {
            metric: {name: _numbers(value) for name, value in comparison.reference_rows(group, metric).items()}
            for metric in comparison.metrics
        },
        "answers": {metric: _answers(comparison, group, metric, rows) for metric in comparison.metrics},
        "sweeps": {metric: _sweeps(comparison, group, metric) for metric in comparison.metrics},
        "seeds": seeds,
        "size": [*first.shape[1:3]] if first is not None and first.ndim == 4 else None,  # pixels; None: points
        "classes": comparison.classes.get(group[0], [])[:seeds],
    }


def _cell(comparison, cell, row, pictures):
    gaps = {
        gap.metric: gap.difference
        for gap in comparison.gaps
        if (gap.run, gap.line, gap.budget) == (cell.run, cell.line, cell.budget)
    }
    strip = pictures.get((cell.run, cell.line, cell.budget))
    return {
        "row": row,
        "budget": cell.budget,
        "nfe": cell.nfe,
        "passes": _number(cell.passes),
        "ms": _numbers(cell.ms_per_image),
        "grid": cell.grid,
        "values": {metric: _numbers(value) for metric, value in cell.metrics.items()},
        "gaps": {
            metric: {"numbers": _numbers(gap), "said": apart(gap, metric), "tie": may_be_zero(gap)}
            for metric, gap in gaps.items()
        },
        "strip": strip and strip.uri,
        "seeds": strip and strip.seeds,
    }


def _answers(comparison, group, metric, rows):
    """The headline, and by budget the verdict."""
    found = headline(comparison, group, metric)
    budgets = comparison.budgets
    middle = FIRST if FIRST in budgets else budgets[len(budgets) // 2]
    of = f"{comparison.title(group)}: " if len(comparison.groups) > 1 else ""
    verdicts = {budget: verdict(comparison, group, metric, budget) for budget in budgets}
    return {
        "budget": found.budget if found else middle,
        "sentence": of + found.sentence if found else f"{comparison.title(group)}: {metric} by network calls",
        "detail": found.detail if found else f"{metric}: {BETTER[metric_info(metric).better]}.",
        "at": {
            budget: {"best": rows.index(v.best), "others": len(v.others), "sure": v.sure, "reason": v.reason}
            for budget, v in verdicts.items()
            if v
        },
    }


def _sweeps(comparison, group, metric):
    return [
        {
            "about": panel.about,
            "lines": [
                {"label": label, "x": list(points.x), "values": [_numbers(value) for value in points.values]}
                for label, points in panel.lines.items()
            ],
        }
        for panel in panels(comparison, metric)
        if panel.title == comparison.title(group)
    ]


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value):
    """To 6 digits; None if it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
