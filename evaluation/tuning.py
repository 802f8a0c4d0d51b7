"""The factors of a U-Net's skips with which a sampler in so many calls comes closest to held-out images (Ma et al.
2024, arXiv:2402.15170), and whether they do so on other images and other seeds."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from fewstep.diffusion.levers import enlarged, interval, skip_tuning
from fewstep.diffusion.levers.skips import schedule
from fewstep.evaluation import measure
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.drawing import labels_to_draw
from fewstep.evaluation.estimate import UNDEFINED, Difference, Estimate, Interval, difference
from fewstep.evaluation.features import quantized
from fewstep.evaluation.reference import reference
from fewstep.samplers.loop import draw_many
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.progress import progress

LOOKS, GRADIENTS = 8, 10  # between the values around the best one, and gradients, at most
# Of a numeric gradient (pixels are rounded to 8 bits), of all of its search around the start, and to what rounds a
# factor: trying it twice is no use.
STEP, REACH, DIGITS = 0.03, 0.8, 3


class Point(NamedTuple):
    """What was tried, and the distance on the half that is tuned on."""

    factors: tuple[float, ...]  # of each level, the innermost first
    distance: Interval


class Check(NamedTuple):
    """One distance on the other half, of images of other seeds: without and with the factors, and with less without."""

    metric: str
    without: Interval
    tuned: Interval
    difference: Difference


class Found(NamedTuple):
    """curve: of linear schedules, by the innermost factor; steps: what was tried for gradients and along them."""

    metric: str
    curve: list[Point]
    steps: list[Point]
    best: Point
    checks: list[Check]


class _Spent(Exception):
    """As many settings were tried as may be."""


def tune(run, table, levers, window, values, *, metric, features, count, seed=0, batch=256, refine=False) -> Found:
    """Search the innermost factor: at `values`, increasing, then between the neighbours of the best; with `refine` all
    factors by numeric gradients from there.

    The distance `metric` is that of the first of `features` of `count` images to every second held-out one; the checks
    are on all features, of as many images of other seeds, to the others.  window: (low, high] in sigma / alpha where
    the factors hold, or None.  Raises UsageError for a network without skips, RunError where all images diverge.
    """
    levels, held_out = run.denoiser.levels, reference(run.data, 2).held_out
    halves = held_out[::2], held_out[1::2]
    distances = [[DISTANCES[metric](kind(half)) for kind in features] for half in halves]
    cond = labels_to_draw(run.denoiser, run.data, count)

    def measured(half, kinds, factors) -> list[Estimate]:
        """Distances to one half on some features, of that half's seeds; factors None: without the lever."""
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
                    raise _Spent
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
            raise RunError(f"{run.folder}: images diverge at every factor: try more network calls or another sampler")
        if refine:
            before, most = len(tried), len(tried) + (1 + levels) * GRADIENTS
            unit = max(abs(best.distance.value), best.distance.high - best.distance.low)  # distances of about 1
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
    """A search that may be cut short."""
    with suppress(_Spent):
        search(*arguments, **options)


def _neighbours(values, i):
    return values[max(i - 1, 0)], values[min(i + 1, len(values) - 1)]


def _score(point):
    return point.distance.value if np.isfinite(point.distance.value) else np.inf
