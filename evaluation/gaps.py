"""Paired differences between the cells of a comparison: from the best at the same budget, and between budgets."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product

from fewstep.evaluation.comparison import Change, Gap, best_of
from fewstep.evaluation.estimate import Estimate, difference

Measured = Mapping[tuple[str, str, int], Mapping[str, Estimate]]  # (run, line, budget): {metric: estimate}


def gaps(
    measured: Measured, groups: Sequence[Sequence[str]], budgets: Iterable[int], metrics: Iterable[str]
) -> list[Gap]:
    """The gaps of all rows but the best, by group, budget and metric."""
    found = []
    for group, budget, metric in product(groups, budgets, metrics):
        here = {at[:2]: v for at, v in _of(measured, group, metric).items() if at[2] == budget}
        for best in best_of({row: value.value for row, value in here.items()}, metric)[:1]:
            apart = {row: difference(value, here[best]) for row, value in here.items() if row != best}
            found += [Gap(run, line, best[0], best[1], budget, metric, gap) for (run, line), gap in apart.items()]
    return found


def changes(measured: Measured, groups: Sequence[Sequence[str]], metrics: Iterable[str]) -> list[Change]:
    """Of every row the change from each budget to the next, and of the best cell at each budget its difference from the
    best cell of the group."""
    found = []
    for group, metric in product(groups, metrics):
        here = _of(measured, group, metric)
        rows, budgets = dict.fromkeys(at[:2] for at in here), sorted({at[2] for at in here})
        pairs = [pair for row in rows for pair in pairwise((*row, b) for b in budgets if (*row, b) in here)]
        values = {at: value.value for at, value in here.items()}
        best = best_of(values, metric)[:1]
        for budget in budgets:
            leader = best_of({at: value for at, value in values.items() if at[2] == budget}, metric)[:1]
            pairs += [pair for pair in zip(best, leader, strict=False) if pair[0] != pair[1] and pair not in pairs]
        found += [Change(*to, *start, metric, difference(here[to], here[start])) for start, to in pairs]
    return found


def _of(measured, group, metric):
    return {at: values[metric] for at, values in measured.items() if at[0] in group and metric in values}
