"""What a comparison answers, in words: the best line at each budget, how sure that is, how many calls are enough."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fewstep.evaluation.comparison import Change, Comparison, Row, best_of
from fewstep.evaluation.estimate import Difference, Interval
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.report.table import number

CLOSE = 0.02  # a share of the best value that is called close, if that is positive
NAMED = 3  # lines, at most; more are counted
LEVEL = "95 % interval "


class Verdict(NamedTuple):
    """The best row at a budget: `others`, the nearest first, may be as good; `sure` says so briefly and `reason` at
    length."""

    best: Row
    others: list[Row]
    sure: str
    reason: str


class Headline(NamedTuple):
    """The answer of a comparison: the smallest budget that cannot be told from the best of all, or is close to it."""

    budget: int
    sentence: str
    detail: str


def calls(budget: int) -> str:
    """ "8 calls"."""
    return f"{budget} call{'s' * (budget != 1)}"


def with_interval(value: Interval) -> str:
    """ "0.165 (95 % interval 0.123 to 0.207)", or the value alone if it is exact."""
    ends = f" ({LEVEL}{number(value.low)} to {number(value.high)})" if value.low < value.high else ""
    return f"{number(value.value)}{ends}"


def apart(difference: Difference, metric: str, prefix: str = "") -> str:
    """A paired difference from the best, such as "0.0120 worse (0.00400 to 0.0200)"; positive ends are worse."""
    sign = -1 if metric_info(metric).better == "higher" else 1
    value, (low, high) = sign * difference.value, sorted((sign * difference.low, sign * difference.high))
    if not math.isfinite(value):
        return "not finite"
    word = "worse" if value >= 0 else "better"
    return "equal" if low == high == 0 else f"{number(abs(value))} {word} ({prefix}{number(low)} to {number(high)})"


def may_be_zero(difference: Difference) -> bool:
    """Whether the paired interval contains 0."""
    return difference.low <= 0 <= difference.high


def verdict(comparison: Comparison, group: Sequence[str], metric: str, budget: int) -> Verdict | None:
    """None if no line has a finite value, or if neither direction of the metric is better."""
    if not (best := comparison.best(group, budget, metric)):
        return None
    gaps = {
        (g.run, g.line): g.difference
        for g in comparison.gaps
        if g.run in group and (g.budget, g.metric) == (budget, metric)
    }
    values = {(c.run, c.line): c.metrics[metric].value for c in _cells(comparison, group, metric) if c.budget == budget}
    ties = sorted(comparison.ties(group, budget, metric), key=lambda row: (abs(values[row] - values[best[0]]), row))
    others = [*best[1:], *ties]
    rest = best_of({row: value for row, value in values.items() if row not in best}, metric)
    nearest = next(iter(others or rest), None)
    if nearest is None:
        return Verdict(best[0], [], "the only one", f"The only one with a value at {calls(budget)}.")
    name = comparison.label(group, *nearest)
    if nearest not in gaps:
        exact = f"In closed form, without sampling error; the next is {name} with {number(values[nearest])}."
        return Verdict(best[0], others, "exact", exact)
    distance = apart(gaps[nearest], metric, LEVEL)
    if not others:
        return Verdict(best[0], [], "clear", f"Clear: on the same seeds the next, {name}, is {distance}.")
    sure = f"or {name if len(others) == 1 else f'{len(others)} others'}"
    names = _names(comparison, group, others)
    return Verdict(best[0], others, sure, f"Undecided: {names} may be as good. On the same seeds {name} is {distance}.")


def headline(comparison: Comparison, group: Sequence[str], metric: str) -> Headline | None:
    """None if no value is finite and evidence, or if neither direction of the metric is better."""
    known = {(c.run, c.line, c.budget): c.metrics[metric] for c in _cells(comparison, group, metric)}
    values = {at: value for at, value in known.items() if math.isfinite(value.value)}
    top = next(iter(best_of({at: value.value for at, value in values.items()}, metric)), None)
    if top is None:
        return None
    verdicts = {b: found for b in comparison.budgets if (found := verdict(comparison, group, metric, b))}
    if not comparison.count:
        budget = 8 if 8 in verdicts else [*verdicts][len(verdicts) // 2]
        best = [verdicts[budget].best, *verdicts[budget].others]
        sentence = f"{_names(comparison, group, best)} {'is' if len(best) == 1 else 'are'} best"
        value = number(values[*best[0], budget].value)
        detail = f"{metric} {value}, in closed form: no network, no sampling error."
        return Headline(budget, f"{sentence} at {calls(budget)}", detail)
    for budget, found in verdicts.items():
        at = (*found.best, budget)
        change = _change(comparison, at, top, metric)
        if at == top or _close(values[at], values[top]) or (change and may_be_zero(change.difference)):
            return _headline(comparison, group, metric, found, budget, values, top, change)
    return None


def _headline(comparison, group, metric, found, budget, values, top, change):
    """That `found` at a budget is enough, where `top` is the best cell of all."""
    name, at = comparison.label(group, *found.best), (*found.best, budget)
    value, detail = values[at], f"{metric} {with_interval(values[at])}"
    if len(values) == 1:
        return Headline(budget, f"{name} has {metric} {number(value.value)} at {calls(budget)}", f"{detail}.")
    tail = f"; {_names(comparison, group, found.others)} may be as good" if found.others else ""
    if at == top:
        fewer = ", and fewer calls are worse" if any(b < budget for *_, b in values) else ""
        return Headline(budget, f"{name} is best at {calls(budget)}{fewer}{tail}", f"{detail}.")
    best = values[top].value
    close = "cannot be told from the best"
    if _close(value, values[top]):
        percent = max(1, math.ceil(round(100 * abs(value.value - best) / best, 6)))
        close = f"is within {percent} % of the best {metric}"
    detail += f"; the best of all is {number(best)}, by {comparison.label(group, *top[:2])} at {calls(top[2])}."
    if change:
        chance = ", which may be chance" if may_be_zero(change.difference) else ""
        detail += f" On the same seeds it is {apart(change.difference, metric, LEVEL)}{chance}."
    return Headline(budget, f"{name} at {calls(budget)} {close}{tail}", detail)


def _close(value, best):
    return best.value > 0 and abs(value.value - best.value) <= CLOSE * best.value


def progress(comparison: Comparison, run: str, line: str, metric: str) -> str:
    """Whether more calls help a line, by the changes between budgets that follow one another."""
    steps = [c for c in comparison.changes if (c.run, c.line, c.metric) == (run, line, metric)]
    steps = [c for c in steps if (c.other_run, c.other) == (run, line) and c.other_budget < c.budget]
    sign = -1 if metric_info(metric).better == "higher" else 1
    steps = [c for c in steps if math.isfinite(c.difference.value) and metric_info(metric).better]
    worse = [c for c in steps if sign * c.difference.value > 0 and not may_be_zero(c.difference)]
    better = [c for c in steps if sign * c.difference.value < 0 and not may_be_zero(c.difference)]
    if not steps:
        return ""
    if worse:
        found = [f"{number(abs(c.difference.value))} from {c.other_budget} to {c.budget} calls" for c in worse]
        return f"not monotone: worse by {', by '.join(found)}"
    if not better:
        return "no change is significant"
    last = better[-1].budget
    if len(better) == len(steps):
        return f"monotone: every increase helps, up to {calls(last)}"
    return f"monotone as far as can be told: helps up to {calls(last)}" + (
        "" if last == steps[-1].budget else ", undecided beyond"
    )


def _cells(comparison, group, metric):
    here = (cell for cell in comparison.cells if cell.run in group and metric in cell.metrics)
    return [cell for cell in here if comparison.is_evidence(cell.run, metric)]


def _change(comparison, at, other, metric) -> Change | None:
    for c in comparison.changes:
        if (c.run, c.line, c.budget, c.other_run, c.other, c.other_budget, c.metric) == (*at, *other, metric):
            return c
    return None


def _names(comparison, group, rows):
    """Up to NAMED labels of rows; of more the first, and how many there are."""
    labels = [comparison.label(group, *row) for row in rows]
    if len(labels) > NAMED:
        return f"{labels[0]} and {len(labels) - 1} others"
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)
