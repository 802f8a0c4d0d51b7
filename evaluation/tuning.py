"""Tuning of the skip factors of a U-Net for one sampler and NFE, by the distance to held-out images (Ma et al. 2024,
arXiv:2402.15170), with a check on other images and seeds."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from fewstep.diffusion.levers import enlarged, interval, skip_tuning
from fewstep.diffusion.levers.skips import schedule
from fewstep.evaluation import measure
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.drawing import labels_to_draw
from fewstep.evaluation.estimate import UNDEFINED, Difference, Estimate, Interval, difference
from fewstep.evaluation.features import Features, quantized
from fewstep.evaluation.reference import reference
from fewstep.samplers import Tableau
from fewstep.samplers.loop import draw_many
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.progress import progress

LOOKS, GRADIENTS = 8, 10  # evaluations between the neighbours of the best value, and gradient evaluations, at most
# The step of numeric gradients (large, because pixels are rounded to 8 bits), the bounds of that search around its
# start, and the decimals that factors are rounded to, so that none is evaluated twice.
STEP, REACH, DIGITS = 0.03, 0.8, 3


class Point(NamedTuple):
    """Factors, and their distance on the tuning half."""

    factors: tuple[float, ...]  # one per level, innermost first
    distance: Interval


class Check(NamedTuple):
    """One distance on the other half, with other seeds: without the factors, with them, and the difference."""

    metric: str
    without: Interval
    tuned: Interval
    difference: Difference


class Found(NamedTuple):
    """The result of `tune`.  curve: linear schedules, by innermost factor; steps: the points of the gradient search."""

    metric: str
    curve: list[Point]
    steps: list[Point]
    best: Point
    checks: list[Check]


class _BudgetSpent(Exception):
    """The maximum number of evaluations is reached."""


def tune(
    run: Any,
    table: Tableau,
    levers: Sequence,
    window: Sequence[float] | None,
    values: Sequence[float],
    *,
    metric: str,
    features: Sequence[Features],
    count: int,
    seed: int = 0,
    batch: int = 256,
    refine: bool = False,
) -> Found:
    """Search the innermost factor over `values`, in increasing order, then between the neighbours of the best; with
    `refine` all factors by numeric gradients from there.

    run is a `train.run.Run`.  The objective is the distance `metric` on the first of `features`, of `count` images to
    every second held-out image; the checks use all features, other seeds and the other held-out images.  window: the
    noise levels sigma / alpha (low, high] where the factors apply, or None.  Raises UsageError for a network without
    skips, and RunError if the images diverge at every factor.
    """
    levels, held_out = run.denoiser.levels, reference(run.data, 2).held_out
    halves = held_out[::2], held_out[1::2]
    distances = [[DISTANCES[metric](kind(half)) for kind in features] for half in halves]
    cond = labels_to_draw(run.denoiser, run.data, count)

    def measured(half, kinds, factors) -> list[Estimate]:
        """Distances to one half on some features, with the seeds of that half; factors None: without the lever."""
        around = () if factors is None else (skip_tuning(factors), *((interval(*window),) if window else ()))
        den, seeds = run.under([*levers, *around]), np.arange(count) + seed + half * count
        options = {"cond": cond, "batch": batch, "sharding": batch_sharding(run.mesh)}
        images = draw_many(den, table, seeds, enlarged(run.shape, den), **options)
        if not np.isfinite(images).all():
            return [UNDEFINED for _ in kinds]
        images = measure.averaged(quantized(images), held_out.shape)
        return [distances[half][i](features[i](images))[metric] for i in kinds]

    def shown(estimate):
        return measure.interval(metric, estimate)

    tried, most = {}, len(values) + LOOKS * (len(values) > 1)
    total = most + (1 + levels) * GRADIENTS * refine + 2
    with progress(total, unit="settings") as show:

        def distance(factors):
            factors = tuple(np.round(np.asarray(factors, float), DIGITS).tolist())
            if factors not in tried:
                if len(tried) == most:
                    raise _BudgetSpent
                tried[factors] = Point(factors, shown(measured(0, [0], factors)[0]))
                show(len(tried), f"{', '.join(f'{f:.2f}' for f in factors)}: {tried[factors].distance.value:.4g}")
            return _score(tried[factors])

        def of_rho(rho):
            return distance(schedule(rho, 1.0, levels))

        i = int(np.argmin([of_rho(rho) for rho in values]))
        _attempt(minimize_scalar, of_rho, bounds=_neighbours(values, i), method="bounded", options={"xatol": 0.01})
        curve, steps = sorted(tried.values(), key=lambda point: point.factors[0]), []
        best = min(curve, key=_score)
        if not np.isfinite(_score(best)):
            raise RunError(f"{run.folder}: images diverge at every factor: use more network calls or another sampler")
        if refine:
            before, most = len(tried), len(tried) + (1 + levels) * GRADIENTS
            unit = max(abs(best.distance.value), best.distance.high - best.distance.low)  # scales distances to about 1
            bounds = [(factor - REACH, factor + REACH) for factor in best.factors]
            options = {"ftol": 1e-3, "eps": STEP, "maxls": 5}
            at = np.array(best.factors)
            _attempt(minimize, lambda f: distance(f) / unit, at, method="L-BFGS-B", bounds=bounds, options=options)
            steps = list(tried.values())[before:]
            best = min([best, *steps], key=_score)
        kinds = range(len(features))
        pairs = zip(*(measured(1, kinds, factors) for factors in (None, best.factors)), strict=True)
        checks = [
            Check(measure.metric_name(metric, kind), shown(plain), shown(tuned), difference(tuned, plain))
            for kind, (plain, tuned) in zip(features, pairs, strict=True)
        ]
        show(total, "checked")
    return Found(measure.metric_name(metric, features[0]), curve, steps, best, checks)


def _attempt(search, *arguments, **options):
    """Run a search until it ends or the budget is spent."""
    with suppress(_BudgetSpent):
        search(*arguments, **options)


def _neighbours(values, i):
    return values[max(i - 1, 0)], values[min(i + 1, len(values) - 1)]


def _score(point):
    return point.distance.value if np.isfinite(point.distance.value) else np.inf
