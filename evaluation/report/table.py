"""The tables of a comparison for the terminal."""

import textwrap
from itertools import takewhile

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.metrics import REFERENCE_ROWS, metric_info

WIDTH = 80
BETTER = {"lower": "lower is better", "higher": "higher is better", "": "neither direction is better"}


def number(value: float) -> str:
    """Three significant digits, without an exponent if possible."""
    text = f"{value:#.3g}".rstrip(".")
    return f"{value:.0f}" if "e" in text and 1 <= abs(value) < 1e6 else text


def render(comparison: Comparison, width: int = WIDTH) -> str:
    """Tables of samplers by NFE for each metric, where * is the best of a column and ~ not significantly worse; the
    best ones with confidence intervals; and a legend."""
    found = []
    for metric in comparison.metrics:
        for run in comparison.runs:
            leaders = comparison.leaders(run, metric)
            found += [*_blocks(comparison, run, metric, width), *_leaders(comparison, metric, leaders, width)]
        found += _leaders(comparison, metric, comparison.between(metric), width)
    found += [textwrap.fill(text, width) for text in (*_legend(comparison), *comparison.notes)]
    return "\n\n".join(found) + "\n"


def _blocks(comparison, run, metric, width):
    """The table, split into blocks of columns that fit the width."""
    columns = [[str(budget) + " ", *_column(comparison, run, metric, budget)] for budget in comparison.budgets]
    names = ["sampler", *comparison.drawn(run)]
    for name, value in comparison.reference_rows(run, metric).items():
        names.append(name)
        columns = [[*column, "" if i else number(value.value) + " "] for i, column in enumerate(columns)]
    first, size = max(map(len, names)) + 2, 1 + max(8, *(len(text) for column in columns for text in column))
    fit = max(1, (width - first) // size)
    for i in range(0, len(columns), fit):
        rows = zip(names, *columns[i : i + fit], strict=True)
        lines = (name.ljust(first) + "".join(text.rjust(size) for text in texts) for name, *texts in rows)
        yield "\n".join([f"{run}: {metric} by network calls", *(line.rstrip() for line in lines)])


def _column(comparison, run, metric, budget):
    best, ties = comparison.best(run, budget, metric), comparison.ties(run, budget, metric)
    for line in comparison.drawn(run):
        cell = comparison.cell(run, line, budget)
        value = cell.metrics.get(metric) if cell else None
        mark = "*" if line in best else "~" if line in ties else " "
        yield ("-" if value is None else number(value.value)) + mark


def _leaders(comparison, metric, gaps, width):
    """One line per gap: the best, and the difference of the other one; common prefixes of names are removed, and long
    names are truncated."""
    words = zip(*(line.split()[:-1] for line in comparison.lines), strict=False)
    same = sum(len(word) + 1 for word, *_ in takewhile(lambda column: len(set(column)) == 1, words))
    rows = [("calls", "best", metric, "next", "difference", "unpaired")]
    for gap in gaps:
        cell, difference = comparison.cell(gap.best_run, gap.best, gap.budget), gap.difference
        if cell is None:  # never: gaps are between cells
            continue
        value = cell.metrics[metric]
        around = f"{number(value.value)} ±{number((value.high - value.low) / 2)}"
        paired, unpaired = (f"±{number(end - difference.value)}" for end in (difference.high, difference.unpaired_high))
        best, other = gap.best[same:], gap.line[same:]
        if gap.run != gap.best_run:
            best, other = f"{gap.best_run} {best}", f"{gap.run} {other}"
        rows.append((str(gap.budget), best, around, other, f"{number(difference.value)} {paired}", unpaired))
    if len(rows) > 1:
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        over = sum(sizes) + 2 * (len(sizes) - 1) - width
        for i in (1, 3):
            sizes[i] -= max(0, -(-over // 2))
        lines = ("  ".join(_short(text, size) for text, size in zip(row, sizes, strict=True)) for row in rows)
        yield "\n".join(line.rstrip() for line in lines)


def _short(text, size):
    """The text, padded or truncated to `size` characters."""
    return (text if len(text) <= size else text[: size - 1] + "…").ljust(size)


def _legend(comparison):
    if not comparison.count:
        yield "The squared Frechet distance to Gaussian data in closed form: lower is better, * is best."
        return
    kinds = {metric_info(metric).better: [] for metric in comparison.metrics}
    for metric in comparison.metrics:
        kinds[metric_info(metric).better].append(metric)
    better = "; ".join(f"{', '.join(metrics)}: {BETTER[kind]}" for kind, metrics in kinds.items())
    sets = f", mean of {comparison.repeats} sets" if comparison.repeats > 1 else ""
    yield (
        f"{comparison.count} images per cell{sets}, against held-out images. {better}. * is best; ~ is not "
        f"significantly worse: the 95 % interval of its difference from the best, paired by seed, contains 0. "
        f"unpaired: the interval for independent seeds. {' '.join(reference_rows(comparison))}"
    )
    if comparison.levers:
        yield f"Levers: {', '.join(comparison.levers)}."


def reference_rows(comparison: Comparison) -> list[str]:
    """Descriptions of the reference rows that the tables contain."""
    rows = {metric_info(metric).reference_row for floor in comparison.floors.values() for metric in floor}
    return [f"{row.capitalize()}: {what}." for row, what in REFERENCE_ROWS.items() if row in rows]
