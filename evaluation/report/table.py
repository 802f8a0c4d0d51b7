"""The tables of a comparison for the terminal."""

import textwrap
from itertools import takewhile

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.metrics import (
    ALONE,
    REFERENCE_ROWS,
    TRAINED,
    metric_info,
    name_and_features,
    on_several_features,
)

WIDTH = 80
BETTER = {"lower": "lower is better", "higher": "higher is better", "": "neither direction is better"}


def number(value: float) -> str:
    """Three significant digits, without an exponent if possible."""
    text = f"{value:#.3g}".rstrip(".")
    return f"{value:.0f}" if "e" in text and 1 <= abs(value) < 1e6 else text


def render(comparison: Comparison, width: int = WIDTH) -> str:
    """For each metric and group of runs: a table by NFE, where * is the best of a column and ~ not significantly worse,
    and the best ones with confidence intervals; one table of each metric on several features.  A legend follows."""
    found = []
    for metric in comparison.metrics:
        for group in comparison.groups:
            found += [*_blocks(comparison, group, metric, width), *_leaders(comparison, group, metric, width)]
    for metrics in on_several_features(comparison.metrics).values():
        for group in comparison.groups:
            found += _by_features(comparison, group, metrics, width)
    found += [textwrap.fill(text, width) for text in (*_legend(comparison), *comparison.notes)]
    return "\n\n".join(found) + "\n"


def _blocks(comparison, group, metric, width):
    """The table of a metric: a row for each line, a column for each budget."""
    columns = [[str(budget) + " ", *_column(comparison, group, metric, budget)] for budget in comparison.budgets]
    names = ["sampler", *(comparison.label(group, *row) for row in comparison.rows(group))]
    for name, value in comparison.reference_rows(group, metric).items():
        names.append(name)
        columns = [[*column, "" if i else number(value.value) + " "] for i, column in enumerate(columns)]
    yield from _split(f"{comparison.title(group)}: {metric} by network calls", names, columns, width)


def _by_features(comparison, group, metrics, width):
    """The table of a metric on several features: a row for each line and budget, a column for the features."""
    names, columns = ["sampler @ calls"], [[name_and_features(metric)[1] + " "] for metric in metrics]
    for budget in comparison.budgets:
        names += [f"{comparison.label(group, *row)} @ {budget}" for row in comparison.rows(group)]
        for metric, column in zip(metrics, columns, strict=True):
            column += _column(comparison, group, metric, budget)
    references = [comparison.reference_rows(group, metric) for metric in metrics]
    for name in dict.fromkeys(name for known in references for name in known):
        names.append(name)
        for known, column in zip(references, columns, strict=True):
            column.append(number(known[name].value) + " " if name in known else "")
    of = name_and_features(metrics[0])[0]
    yield from _split(f"{comparison.title(group)}: {of} on several features", names, columns, width)


def _split(title, names, columns, width):
    """A table with its title, split into blocks of columns that fit the width."""
    first, size = max(map(len, names)) + 2, 1 + max(8, *(len(text) for column in columns for text in column))
    fit = max(1, (width - first) // size)
    title = textwrap.fill(title, width, break_long_words=False, break_on_hyphens=False)
    for i in range(0, len(columns), fit):
        rows = zip(names, *columns[i : i + fit], strict=True)
        lines = (name.ljust(first) + "".join(text.rjust(size) for text in texts) for name, *texts in rows)
        yield "\n".join([title, *(line.rstrip() for line in lines)])


def _column(comparison, group, metric, budget):
    best, ties = comparison.best(group, budget, metric), comparison.ties(group, budget, metric)
    for row in comparison.rows(group):
        cell = comparison.cell(*row, budget)
        value = cell.metrics.get(metric) if cell else None
        mark = (
            "*" if row in best else "~" if row in ties else " " if comparison.is_evidence(row[0], metric) else TRAINED
        )
        yield ("-" if value is None else number(value.value)) + mark


def _leaders(comparison, group, metric, width):
    """One line per budget, or two where one would be too long: the best row, and the difference of the next one.
    Prefixes that all lines have in common are left out."""
    words = zip(*(line.split()[:-1] for line in comparison.lines), strict=False)
    same = sum(len(word) + 1 for word, *_ in takewhile(lambda column: len(set(column)) == 1, words))
    rows = [("calls", "best", metric, "next", "difference", "unpaired")]
    for gap in comparison.leaders(group, metric):
        cell, difference = comparison.cell(gap.best_run, gap.best, gap.budget), gap.difference
        if cell is None:  # never: gaps are between cells
            continue
        value = cell.metrics[metric]
        around = f"{number(value.value)} ±{number((value.high - value.low) / 2)}"
        paired, unpaired = (f"±{number(end - difference.value)}" for end in (difference.high, difference.unpaired_high))
        best = comparison.label(group, gap.best_run, gap.best[same:])
        other = comparison.label(group, gap.run, gap.line[same:])
        rows.append((str(gap.budget), best, around, other, f"{number(difference.value)} {paired}", unpaired))
    if len(rows) > 1:
        lines = _aligned(rows)
        yield "\n".join(lines if max(map(len, lines)) <= width else _aligned(_folded(rows, width)))


def _folded(rows, width):
    """The rows on two lines each, with names on more lines if they are still too long."""
    halves = [
        half
        for calls, best, value, other, difference, unpaired in rows
        for half in ((calls, best, value, ""), ("", other, difference, unpaired))
    ]
    room = width - 2 * 3 - sum(max(map(len, column)) for i, column in enumerate(zip(*halves, strict=True)) if i != 1)
    for calls, name, *numbers in halves:
        first, *more = textwrap.wrap(name, room, break_on_hyphens=False)
        yield calls, first, *numbers
        yield from (("", text, "", "") for text in more)


def _aligned(rows):
    """The rows as lines, with columns of the same width."""
    rows = list(rows)
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, sizes)).rstrip() for row in rows]


def _legend(comparison):
    if not comparison.count:
        yield "The squared Frechet distance to Gaussian data in closed form: lower is better, * is best."
        return
    kinds = {metric_info(metric).better: [] for metric in comparison.metrics}
    for metric in comparison.metrics:
        kinds[metric_info(metric).better].append(metric)
    better = "; ".join(f"{', '.join(metrics)}: {BETTER[kind]}" for kind, metrics in kinds.items())
    sets = f", mean of {comparison.repeats} sets" if comparison.repeats > 1 else ""
    real = measured_against(comparison)
    yield (
        f"{comparison.count} images per cell{sets}, against {real}. {better}. * is best; ~ is not "
        f"significantly worse: the 95 % interval of its difference from the best, paired by seed, contains 0. "
        f"unpaired: the interval for independent seeds. {' '.join(reference_rows(comparison))}"
    )
    if comparison.levers:
        yield f"Levers: {', '.join(comparison.levers)}."


def measured_against(comparison: Comparison) -> str:
    """What the metrics measure against."""
    return "samples in many calls from the same noise" if comparison.metrics == [ALONE] else "held-out images"


def reference_rows(comparison: Comparison) -> list[str]:
    """Descriptions of the reference rows that the tables contain."""
    rows = {metric_info(metric).reference_row for floor in comparison.floors.values() for metric in floor}
    return [f"{row.capitalize()}: {what}." for row, what in REFERENCE_ROWS.items() if row in rows]
