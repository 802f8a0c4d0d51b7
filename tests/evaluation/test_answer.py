"""The sentences of a report: which sampler, at how many calls, and how sure."""

import math
from dataclasses import replace

import pytest

from fewstep.evaluation.comparison import Cell, Change, Comparison, Gap
from fewstep.evaluation.estimate import Difference, Interval, estimate
from fewstep.evaluation.gaps import changes, gaps
from fewstep.evaluation.report.answer import apart, headline, progress, verdict

GROUP, FD = ["digits"], "FD-pixels"


def compared(values, half, count=500, metric=FD):
    """A comparison of {line: values at 4, 8, 16 calls}, with paired intervals of this half-width."""
    cells = [
        Cell(
            "digits", line, line, "uniform", {}, b, b, float(b), Interval(1, 1, 1), {metric: Interval(v, v - 1, v + 1)}
        )
        for line, found in values.items()
        for b, v in zip((4, 8, 16), found, strict=True)
    ]
    measured = {("digits", c.line, c.budget): {metric: estimate(c.metrics[metric].value)} for c in cells}

    def wide(found):
        value = found.difference.value
        ends = (value, value) if value == 0 else (value - half, value + half)
        return replace(found, difference=Difference(value, *ends, value - 1, value + 1))

    return Comparison(
        command="", runs=GROUP, groups=[GROUP], lines=[*values], budgets=[4, 8, 16], metrics=[metric], cells=cells,
        gaps=[wide(gap) for gap in gaps(measured, [GROUP], (4, 8, 16), [metric])] if count else [],
        changes=[wide(change) for change in changes(measured, [GROUP], [metric])] if count else [],
        floors={}, notes=[], count=count, seed=0, repeats=1, levers=(), environment={}, memory={},
    )  # fmt: skip


def test_a_clear_winner_is_called_clear():
    found = verdict(compared({"a": (4, 2, 1), "b": (5, 3, 1.5)}, 0.1), GROUP, FD, 8)
    assert (found.best, found.others, found.sure) == (("digits", "a"), [], "clear")
    assert found.reason == "Clear: on the same seeds the next, b, is 1.00 worse (95 % interval 0.900 to 1.10)."


def test_what_may_be_as_good_is_undecided():
    found = verdict(compared({"a": (4, 2, 1), "b": (5, 2.05, 1.5), "c": (5, 2.02, 9)}, 0.1), GROUP, FD, 8)
    assert (found.best, found.others, found.sure) == (
        ("digits", "a"),
        [("digits", "c"), ("digits", "b")],
        "or 2 others",
    )
    assert found.reason.startswith("Undecided: c and b may be as good. On the same seeds c is 0.0200 worse (95 %")
    alone = verdict(compared({"a": (4, 2, 1), "b": (5, 2.05, 1.5)}, 0.1), GROUP, FD, 8)
    assert alone.sure == "or b"


def test_equal_samplers_are_said_to_be():
    found = verdict(compared({"a": (4, 2, 1), "b": (4, 2, 1)}, 0.1), GROUP, FD, 4)
    assert (found.sure, found.reason) == ("or b", "Undecided: b may be as good. On the same seeds b is equal.")


def test_one_sampler_and_none():
    comparison = compared({"a": (4, math.nan, 1)}, 0.1)
    assert verdict(comparison, GROUP, FD, 4).reason == "The only one with a value at 4 calls."
    assert verdict(comparison, GROUP, FD, 8) is None
    assert headline(compared({"a": (math.nan,) * 3}, 0.1), GROUP, FD) is None
    assert headline(compared({"a": (1, 1, 1)}, 0.1, metric="novelty-pixels"), GROUP, "novelty-pixels") is None


def test_the_answer_is_the_smallest_budget_that_is_close_to_the_best():
    found = headline(compared({"a": (4, 1.01, 1), "b": (5, 3, 1.5)}, 0.001), GROUP, FD)
    assert (found.budget, found.sentence) == (8, "a at 8 calls is within 1 % of the best FD-pixels")
    assert "the best of all is 1.00, by a at 16 calls" in found.detail
    assert "chance" not in found.detail


def test_a_larger_difference_that_may_be_chance_is_said_to_be():
    found = headline(compared({"a": (4, 1.3, 1), "b": (5, 1.4, 1.5)}, 0.4), GROUP, FD)
    assert (found.budget, found.sentence) == (8, "a at 8 calls cannot be told from the best; b may be as good")
    assert found.detail.endswith("0.300 worse (95 % interval -0.100 to 0.700), which may be chance.")


def test_where_more_calls_still_help_the_last_is_best():
    found = headline(compared({"a": (4, 2, 1), "b": (5, 3, 2)}, 0.1), GROUP, FD)
    assert found.sentence == "a is best at 16 calls, and fewer calls are worse"


def test_values_below_zero_have_no_percentage():
    found = headline(compared({"a": (4, -1, -1.2)}, 0.5, metric="KID-pixels"), GROUP, "KID-pixels")
    assert found.sentence == "a at 8 calls cannot be told from the best"
    found = headline(compared({"a": (4, -1.19, -1.2)}, 0.001, metric="KID-pixels"), GROUP, "KID-pixels")
    assert found.sentence == "a is best at 16 calls, and fewer calls are worse"


def test_a_single_number_is_not_called_the_best():
    found = headline(compared({"a": (math.nan, math.nan, 1)}, 0.1), GROUP, FD)
    assert (found.budget, found.sentence) == (16, "a has FD-pixels 1.00 at 16 calls")


def test_an_exact_comparison_has_no_doubt():
    comparison = compared({"a": (4, 2, 1), "b": (5, 3, 2)}, 0, count=0)
    assert verdict(comparison, GROUP, FD, 8).reason.startswith("In closed form, without sampling error; the next is b")
    assert headline(comparison, GROUP, FD).sentence == "a is best at 8 calls"


def test_higher_is_better_where_it_is():
    metric = "precision-pixels"
    comparison = compared({"a": (0.5, 0.8, 0.9), "b": (0.4, 0.6, 0.7)}, 0.01, metric=metric)
    assert verdict(comparison, GROUP, metric, 8).reason.endswith("b, is 0.200 worse (95 % interval 0.190 to 0.210).")
    assert progress(comparison, "digits", "a", metric) == "monotone: every increase helps, up to 16 calls"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((4, 2, 1), "monotone: every increase helps, up to 16 calls"),
        ((4, 2, 2.05), "monotone as far as can be told: helps up to 8 calls, undecided beyond"),
        ((4, 3.95, 1), "monotone as far as can be told: helps up to 16 calls"),
        ((2, 3, 1), "not monotone: worse by 1.00 from 4 to 8 calls"),
        ((2, 2, 2), "no change is significant"),
        ((2, math.nan, 1), ""),
    ],
)
def test_whether_more_calls_help(values, text):
    assert progress(compared({"a": values}, 0.1), "digits", "a", FD) == text


def test_changes_are_between_budgets_and_from_the_best_of_all():
    found = compared({"a": (4, 2, 1), "b": (3, 2.5, 1.5)}, 0.1).changes
    assert {(c.line, c.other_budget, c.budget) for c in found if c.line == c.other and c.other_budget < c.budget} == {
        ("a", 4, 8), ("a", 8, 16), ("b", 4, 8), ("b", 8, 16),
    }  # fmt: skip
    away = {(c.line, c.budget): c.difference.value for c in found if (c.other, c.other_budget) == ("a", 16)}
    assert away == {("b", 4): 2, ("a", 8): 1}


def test_differences_in_words():
    assert apart(Difference(0.012, 0.004, 0.02, 0, 0), FD) == "0.0120 worse (0.00400 to 0.0200)"
    assert apart(Difference(-0.1, -0.2, 0.1, 0, 0), "recall-pixels") == "0.100 worse (-0.100 to 0.200)"
    assert apart(Difference(*[math.nan] * 5), FD) == "not finite"


def test_changes_survive_the_json():
    comparison = compared({"a": (4, 2, 1), "b": (3, 2.5, 1.5)}, 0.1)
    assert isinstance(comparison.changes[0], Change)
    assert isinstance(comparison.gaps[0], Gap)
    assert Comparison.from_json(comparison.to_json()) == comparison
