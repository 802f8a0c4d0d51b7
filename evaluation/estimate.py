"""Numbers computed from samples, with confidence intervals by the infinitesimal jackknife.

A number that is a smooth function of two samples moves, to first order, by the mean of its influences when the members
are weighted anew.  Their variance over the size is that of the number: the limit of the jackknife, and of the bootstrap
for a linear function (Jaeckel 1972; Efron 1982, ch. 6).  Influences of one sample add up to 0, those of a difference
are differences of influences, so what two samplers share (seeds, the real images) cancels as it should.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95


class Interval(NamedTuple):
    """A value with a confidence interval."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A number computed from N drawn and M real items, and how it moves with the weight of each of them.

    drawn (N,) and real (M,) have mean 0: a small change w of the weights, 1 each, changes the number by mean(w drawn).
    They are empty where it does not depend on such items.
    """

    value: float
    drawn: np.ndarray
    real: np.ndarray

    def interval(self, least=-np.inf, most=np.inf) -> Interval:
        """The interval at LEVEL, cut off at the least and the most that the number can be."""
        half = _half(_variance(self.drawn) + _variance(self.real))
        return Interval(self.value, max(self.value - half, least), min(self.value + half, most))


NOTHING = Estimate(np.nan, np.zeros(0), np.zeros(0))  # of what diverged


class Difference(NamedTuple):
    """One number less another: with the interval for images of the same seeds, and that as if of independent ones."""

    value: float
    low: float
    high: float
    unpaired_low: float
    unpaired_high: float


def estimate(value, drawn=(), real=()) -> Estimate:
    """An Estimate of influences that are known up to a constant."""
    return Estimate(float(value), *(np.asarray(a, np.float64) - (np.mean(a) if len(a) else 0.0) for a in (drawn, real)))


def difference(a: Estimate, b: Estimate) -> Difference:
    """a - b, both against the same real items; NaN where one of them is."""
    value = a.value - b.value
    if not np.isfinite(value):
        return Difference(*[np.nan] * 5)
    real = _variance(a.real - b.real)
    ends = []
    for drawn in (_variance(a.drawn - b.drawn), _variance(a.drawn) + _variance(b.drawn)):
        half = _half(drawn + real)
        ends += [value - half, value + half]
    return Difference(value, *ends)


def mean(estimates) -> Estimate:
    """Of one number on several sets of seeds against the same real items; NaN where one of them is."""
    if not np.isfinite([e.value for e in estimates]).all():
        return NOTHING
    return Estimate(
        float(np.mean([e.value for e in estimates])),
        np.concatenate([e.drawn for e in estimates]),
        np.mean([e.real for e in estimates], axis=0),
    )


def _half(variance):
    return float(ndtri(0.5 + LEVEL / 2) * np.sqrt(variance))


def _variance(influences):
    """Of their mean."""
    return influences.var(ddof=1) / len(influences) if len(influences) > 1 else 0.0
