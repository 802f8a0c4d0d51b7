"""Estimates with confidence intervals by the infinitesimal jackknife.

When the items of two samples are reweighted, a smooth statistic changes, to first order, by the mean of its influences.
The variance of the influences divided by the sample size is the variance of the statistic: the limit of the jackknife,
and of the bootstrap for a linear statistic (Jaeckel 1972; Efron 1982, ch. 6).  The influences of one sample sum to 0.
The influences of a difference are the differences of influences, so the variation that two samplers share (seeds, real
images) cancels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy  # whose parts load when they are first used
from numpy.typing import ArrayLike

LEVEL = 0.95


class Interval(NamedTuple):
    """A value with a confidence interval."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A statistic of N drawn and M real items, with the influence of each item.

    drawn (N,) and real (M,) have mean 0: changing the weights of the drawn items from 1 to 1 + w changes the value by
    mean(w drawn).  They are empty if the statistic does not depend on such items.
    """

    value: float
    drawn: np.ndarray
    real: np.ndarray

    def interval(self, least: float = -np.inf, most: float = np.inf) -> Interval:
        """The confidence interval at LEVEL, clipped to the range of the metric."""
        half = _half(_variance(self.drawn) + _variance(self.real))
        return Interval(self.value, max(self.value - half, least), min(self.value + half, most))


UNDEFINED = Estimate(np.nan, np.zeros(0), np.zeros(0))  # for images that are not finite


class Difference(NamedTuple):
    """The difference of two estimates, with a paired (same seeds) and an unpaired (independent seeds) interval."""

    value: float
    low: float
    high: float
    unpaired_low: float
    unpaired_high: float


def estimate(value: float, drawn: ArrayLike = (), real: ArrayLike = ()) -> Estimate:
    """An Estimate from influences that are known up to an additive constant."""
    centred = (np.asarray(a) for a in (drawn, real))
    return Estimate(float(value), *(np.asarray(a, np.float64) - (np.mean(a) if len(a) else 0.0) for a in centred))


def difference(a: Estimate, b: Estimate) -> Difference:
    """a - b, both against the same real items; NaN if either is."""
    value = a.value - b.value
    if not np.isfinite(value):
        return Difference(*[np.nan] * 5)
    real = _variance(a.real - b.real)
    ends = []
    for drawn in (_variance(a.drawn - b.drawn), _variance(a.drawn) + _variance(b.drawn)):
        half = _half(drawn + real)
        ends += [value - half, value + half]
    return Difference(value, *ends)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of one metric over several sets of seeds, against the same real items; NaN if any of them is."""
    if not np.isfinite([e.value for e in estimates]).all():
        return UNDEFINED
    return Estimate(
        float(np.mean([e.value for e in estimates])),
        np.concatenate([e.drawn for e in estimates]),
        np.mean([e.real for e in estimates], axis=0),
    )


def _half(variance):
    return float(scipy.special.ndtri(0.5 + LEVEL / 2) * np.sqrt(variance))


def _variance(influences):
    """The variance of the mean of the influences."""
    return influences.var(ddof=1) / len(influences) if len(influences) > 1 else 0.0
