"""Influences, intervals and differences against leaving items out, simulation and the bootstrap."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from fewstep.evaluation.distances import DISTANCES, Extrapolated, frechet, neighbours
from fewstep.evaluation.estimate import UNDEFINED, Interval, difference, estimate, mean

SMOOTH = ("FD", "KID", "SW", "mind", "energy")
SHARES = ("precision", "recall", "density", "coverage")
D = 4  # features
NORMAL = 1.959964  # half of a 95 % interval, in standard deviations


def gaussian(seed, n, shift=0.0, scale=1.0, d=D):
    return scale * np.random.default_rng(seed).standard_normal((n, d)) + shift


def measured(name, drawn, real, training=None):
    return DISTANCES[name](real, training)(drawn)[name]


def half(interval):
    return (interval.high - interval.low) / 2


# --- influences


def left_out(name, side, monkeypatch=None):
    """What leaving out each of 40 items changes, and what their influences say; with `monkeypatch` the balls of the
    others stay as they are."""
    sets = {"drawn": gaussian(1, 180, 0.4, 1.2), "real": gaussian(2, 150)}
    seen, n = gaussian(3, 120), len(sets[side])
    whole = measured(name, **sets, training=seen)
    balls = {key: neighbours._balls(items) for key, items in sets.items()}
    changes = []
    for i in range(40):
        fewer = {**sets, side: np.delete(sets[side], i, 0)}
        if monkeypatch:
            kept = {len(fewer[key]): balls[key] for key in sets if key != side}
            kept[len(fewer[side])] = [np.delete(a, i, 0) for a in balls[side][:2]] + [np.zeros_like(balls[side][2][1:])]
            monkeypatch.setattr(neighbours, "_balls", lambda items, kept=kept: kept[len(items)])
        changes.append(measured(name, **fewer, training=seen).value - whole.value)
    return np.array(changes), -getattr(whole, side)[:40] / (n - 1)


DENSITY = ("density", "real")  # counts that the balls of neighbours grow


@pytest.mark.parametrize("side", ["drawn", "real"])
@pytest.mark.parametrize(
    ("name", "error"), [("FD", 0.1), ("KID", 0.04), ("SW", 0.08), ("mind", 0.1), ("energy", 0.05), ("novelty", 0.04)]
)
def test_influences_are_derivatives(name, error, side):
    """The second order is of relative size 1/n, here 0.006, times how curved the distance is: that of outliers in four
    features is some times that.  Errors are in parts of the spread of the influences, on the root mean square."""
    changes, expected = left_out(name, side)
    assert np.sqrt(np.mean((changes - expected) ** 2)) < error * expected.std()


def test_influences_of_fdinf_are_derivatives():
    """One drawn item becomes a copy of another that is in the same subsets, so that those stay as they are; of real
    items, which are all in use, as above."""
    changes, expected = left_out("FDinf", "real")
    assert np.sqrt(np.mean((changes - expected) ** 2)) < 0.1 * expected.std()
    drawn, made = gaussian(1, 180, 0.4, 1.2), Extrapolated(gaussian(2, 150))
    order, sizes = np.random.default_rng(0).permutation(180), np.linspace(18, 180, 15).astype(int)
    whole, changes, expected = made(drawn)["FDinf"], [], []
    for low, high in pairwise(sizes):
        for i, j in [(order[low], order[high - 1]), (order[low + 1], order[high - 2]), (order[low + 2], order[low])]:
            changed = drawn.copy()
            changed[i] = drawn[j]
            changes.append(made(changed)["FDinf"].value - whole.value)
            expected.append((whole.drawn[j] - whole.drawn[i]) / 180)
    assert np.sqrt(np.mean(np.subtract(changes, expected) ** 2)) < 0.1 * np.std(expected)


@pytest.mark.parametrize(
    ("name", "side"), [(name, side) for name in SHARES for side in ("drawn", "real") if (name, side) != DENSITY]
)
def test_influences_of_shares_are_what_is_lost_with_an_item(name, side, monkeypatch):
    """Balls of the others as they are: exact up to a constant and to n/(n-1), for what is a share of the other side."""
    changes, expected = left_out(name, side, monkeypatch)
    share = (name, side) in {("precision", "drawn"), ("density", "drawn"), ("recall", "real"), ("coverage", "real")}
    np.testing.assert_allclose(
        changes - changes.mean(), expected - expected.mean(), rtol=1e-9 if share else 0.01, atol=1e-14
    )
    assert share or (name, side) == ("recall", "drawn") or expected.std() > 0


@pytest.mark.parametrize(
    ("name", "side"),
    [("precision", "drawn"), ("density", "drawn"), ("recall", "real"), ("coverage", "drawn"), DENSITY],
)
def test_influences_of_shares_are_exact_where_no_ball_grows_or_growth_is_counted(name, side):
    changes, expected = left_out(name, side)
    np.testing.assert_allclose(changes - changes.mean(), expected - expected.mean(), rtol=0.01, atol=1e-14)


def test_influences_have_mean_0():
    for name in DISTANCES:
        found = measured(name, gaussian(1, 90, 0.4), gaussian(2, 70), gaussian(3, 60))
        assert (len(found.drawn), len(found.real)) == (90, 70), name
        np.testing.assert_allclose([found.drawn.mean(), found.real.mean()], 0, atol=1e-12, err_msg=name)


# --- intervals


@cache
def simulated(shift, trials=200, n=150, d=D):
    """{name: values and half-widths (trials, 2)}, both sets drawn anew each time."""
    found = {name: [] for name in (*SMOOTH, *SHARES, "FDinf", "novelty")}
    seen = gaussian(0, 200, d=d)
    for trial in range(trials):
        drawn, real = gaussian([1, trial], n, shift, d=d), gaussian([2, trial], n, d=d)
        for distance in set(DISTANCES.values()):
            for name, number in distance(real, seen)(drawn).items():
                interval = number.interval()
                assert interval.value == number.value
                found[name].append((number.value, half(interval)))
    return {name: np.array(pairs) for name, pairs in found.items()}


def coverage_and_width(pairs):
    values, halves = pairs.T
    return np.mean(abs(values - values.mean()) <= halves), halves.mean() / (NORMAL * values.std(ddof=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMOOTH, "FDinf", "novelty"])
def test_intervals_cover_the_expected_value(name):
    covered, width = coverage_and_width(simulated(0.4)[name])
    assert covered >= 0.9
    assert 0.7 < width < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.4])
@pytest.mark.parametrize("name", SHARES)
def test_intervals_of_shares_are_rather_too_wide(name, shift):
    assert coverage_and_width(simulated(shift)[name])[1] >= 0.9


def test_intervals_of_density_in_many_features_are_rather_too_wide():
    found = []
    for trial in range(60):
        number = measured("density", gaussian([1, trial], 400, d=32), gaussian([2, trial], 150, d=32))
        found.append((number.value, half(number.interval())))
    assert coverage_and_width(np.array(found))[1] >= 0.9


def test_standard_deviations_equal_those_of_the_bootstrap():
    """Of 200 resamples, which has an error of 5 %."""
    rng = np.random.default_rng(0)
    drawn, real = gaussian(1, 200, 0.5, d=3), gaussian(2, 200, d=3)
    resampled = [frechet(drawn[rng.integers(0, 200, 200)], real[rng.integers(0, 200, 200)]) for _ in range(200)]
    assert half(measured("FD", drawn, real).interval()) / NORMAL == pytest.approx(np.std(resampled), rel=0.25)


def test_intervals_end_where_the_number_does():
    number = estimate(0.5, np.arange(10.0))
    assert number.interval(0, 1) == Interval(0.5, 0, 1)
    assert number.interval(most=1) == Interval(0.5, number.interval().low, 1)
    assert number.interval().low < 0 < 1 < number.interval().high
    assert estimate(0.5).interval() == Interval(0.5, 0.5, 0.5)
    assert half(number.interval()) == pytest.approx(NORMAL * np.arange(10).std(ddof=1) / np.sqrt(10), rel=1e-6)


# --- differences


def differences(name, shifts, trials, follow=None):
    """Of two samplers against one real set, of independent seeds; `follow` makes the second of the first."""
    for trial in range(trials):
        x = gaussian([1, trial], 200, shifts[0])
        y = follow(x, trial) if follow else gaussian([3, trial], 200, shifts[1])
        distance = DISTANCES[name](gaussian([2, trial], 200))
        yield difference(distance(x)[name], distance(y)[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FD", "KID", "SW"])
@pytest.mark.parametrize(("shifts", "least", "most"), [((0.3, 0.3), 0, 10), ((0, 0), 0, 10), ((0.3, 0.6), 90, 100)])
def test_samplers_are_called_different_where_they_are(name, shifts, least, most):
    told = sum(not found.unpaired_low <= 0 <= found.unpaired_high for found in differences(name, shifts, 100))
    assert least <= told <= most


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOOTH)
def test_paired_differences_are_narrower_and_cover(name):
    def changed(x, trial):
        return 1.02 * x + 0.03 + gaussian([4, trial], len(x), scale=0.1)

    found = list(differences(name, (0.3, None), 200, changed))
    values = np.array([one.value for one in found])
    paired = np.array([(one.high - one.low) / 2 for one in found])
    unpaired = np.array([(one.unpaired_high - one.unpaired_low) / 2 for one in found])
    assert (paired < unpaired).all()
    assert paired.mean() < unpaired.mean() / 3
    assert np.mean(abs(values - values.mean()) <= paired) >= 0.9
    assert 0.7 < paired.mean() / (NORMAL * values.std(ddof=1)) < 1.6


def test_a_number_does_not_differ_from_itself():
    for name in DISTANCES:
        number = measured(name, gaussian(1, 60, 0.4), gaussian(2, 70), gaussian(3, 50))
        found = difference(number, number)
        assert found[:3] == (0, 0, 0), name
        assert found.unpaired_high == -found.unpaired_low > 0, name


# --- means of repeats


def test_means_of_repeats():
    """Four sets of seeds halve what is due to them; what is due to the real set stays."""
    real = gaussian(2, 150)
    repeats = [measured("FD", gaussian([1, i], 150, 0.4), real) for i in range(4)]
    found = mean(repeats)
    assert found.value == pytest.approx(np.mean([one.value for one in repeats]), rel=1e-12)
    drawn = half(found._replace(real=np.zeros(0)).interval())
    assert drawn == pytest.approx(
        np.mean([half(one._replace(real=np.zeros(0)).interval()) for one in repeats]) / 2, rel=0.03
    )
    assert half(found._replace(drawn=np.zeros(0)).interval()) == pytest.approx(
        np.mean([half(one._replace(drawn=np.zeros(0)).interval()) for one in repeats]), rel=0.03
    )
    assert mean(repeats[:1]).interval() == repeats[0].interval()


def test_means_of_repeats_cover_the_expected_value():
    found = []
    for trial in range(80):
        distance = DISTANCES["FD"](gaussian([2, trial], 300))
        repeats = mean([distance(gaussian([1, trial, i], 60, 0.4))["FD"] for i in range(4)])
        found.append((repeats.value, half(repeats.interval())))
    covered, width = coverage_and_width(np.array(found))
    assert covered >= 0.9
    assert 0.7 < width < 1.6


def test_what_diverged_has_no_mean_and_no_difference():
    number = measured("FD", gaussian(1, 30), gaussian(2, 30))
    assert mean([number, UNDEFINED]) is UNDEFINED
    assert np.isnan(UNDEFINED.value)
    for pair in [(number, UNDEFINED), (UNDEFINED, number), (UNDEFINED, UNDEFINED)]:
        assert np.isnan(difference(*pair)).all()
