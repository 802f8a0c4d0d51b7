"""The table of a comparison for the terminal."""

import textwrap

WIDTH = 80


def number(value) -> str:
    """Three significant digits, without an exponent where it fits."""
    text = f"{value:#.3g}".rstrip(".")
    return f"{value:.0f}" if "e" in text and 1 <= abs(value) < 1e6 else text


def render(comparison, metric, width=WIDTH) -> str:
    """A plain table of one metric: rows are samplers, columns budgets, a * marks the best of a column."""
    first = max(len("sampler"), *map(len, comparison.samplers)) + 2
    fit = max(1, (width - first) // 9)
    blocks = [
        _block(comparison, run, metric, comparison.budgets[i : i + fit], first)
        for run in comparison.runs
        for i in range(0, len(comparison.budgets), fit)
    ]
    levers = f" Levers: {', '.join(comparison.levers)}." if comparison.levers else ""
    note = (
        f"{metric} of {comparison.count} images against held-out ones: lower is better, * is best. Floor: up to as "
        f"many training images against the same held-out ones.{levers}"
    )
    return "\n\n".join([*blocks, textwrap.fill(note, width)]) + "\n"


def _block(comparison, run, metric, budgets, first):
    lines = [f"{run}: {metric} by network calls", "sampler".ljust(first) + "".join(f"{b:>8} " for b in budgets)]
    for sampler in comparison.samplers:
        texts = []
        for budget in budgets:
            cell = comparison.cell(run, sampler, budget)
            mark = "*" if sampler in comparison.best(run, budget, metric) else " "
            texts.append(f"{'-' if cell is None else number(cell.metrics[metric].value):>8}{mark}")
        lines.append(sampler.ljust(first) + "".join(texts))
    floor = number(comparison.floors[run][metric].value)
    lines.append("floor".ljust(first) + f"{floor:>8}")
    return "\n".join(line.rstrip() for line in lines)
