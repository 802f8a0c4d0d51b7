"""The factors of a U-Net's skips with which a sampler in so many calls comes closest to held-out images (Ma et al.
2024, arXiv:2402.15170), and whether they do so on other images and other seeds."""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from diffusion.levers import enlarged, interval, skip_tuning
from evaluation.distances import DISTANCES
from evaluation.drawing import conditions
from evaluation.estimate import Difference, Estimate, Interval, difference
from evaluation.features import stored
from evaluation.measure import averaged, named
from evaluation.reference import reference
from samplers.loop import draw_many
from train.calibration import ready
from train.progress import progress
from train.sharding import batched

LOOKS, GRADIENTS = 8, 10  # between the values around the best one, and gradients, at most
BOUNDS, STEP = (0.2, 2.0), 0.03  # of a factor, and of a numeric gradient: pixels are rounded to 8 bits


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


def schedule(rho, levels) -> tuple[float, ...]:
    """From rho at the innermost level linearly to 1."""
    return tuple(np.linspace(rho, 1.0, levels).tolist())


def tune(run, table, levers, window, values, *, metric, features, count, seed=0, batch=256, refine=False) -> Found:
    """Search the innermost factor: at `values`, increasing, then between the neighbours of the best; with `refine` all
    factors by numeric gradients from there.

    The distance `metric` is that of the first of `features` of `count` images to every second held-out one; the checks
    are on all features, of as many images of other seeds, to the others.  window: (low, high] in sigma / alpha where
    the factors hold, or None.  Raises ValueError for a network without skips.
    """
    levels, held_out = run.denoiser.levels, reference(run.data, 2).held_out
    halves = held_out[::2], held_out[1::2]
    distances = [[DISTANCES[metric](kind(half)) for kind in features] for half in halves]
    cond = conditions(run.denoiser, run.data, count)

    def measured(half, kinds, factors) -> list[Estimate]:
        around = () if factors is None else (skip_tuning(factors), *((interval(*window),) if window else ()))
        den = ready(run, run.under([*levers, *around]), table)
        seeds = np.arange(count) + seed + half * count
        options = {"cond": cond, "batch": batch, "sharding": batched(run.mesh)}
        images = stored(draw_many(den, table, seeds, enlarged(run.shape, den), **options))
        images = averaged(images, held_out.shape)
        return [distances[half][i](features[i](images))[metric] for i in kinds]

    total = len(values) + LOOKS + (1 + levels) * GRADIENTS * refine + 2
    with progress(total, unit="settings") as show:
        tried = []

        def distance(factors):
            factors = tuple(map(float, factors))
            found = measured(0, [0], factors)[0]
            tried.append(Point(factors, found.interval(0.0)))
            show(min(len(tried), total - 1), f"{', '.join(f'{f:.2f}' for f in factors)}: {found.value:.4g}")
            return _score(tried[-1])

        of_rho = partial(_linear, distance, levels)
        scores = [of_rho(rho) for rho in values]
        i = int(np.argmin(scores))
        if len(values) > 1:
            bounds = values[max(i - 1, 0)], values[min(i + 1, len(values) - 1)]
            minimize_scalar(of_rho, bounds=bounds, method="bounded", options={"maxiter": LOOKS, "xatol": 0.01})
        curve, steps = sorted(tried, key=lambda point: point.factors[0]), []
        best = min(curve, key=_score)
        if refine:
            unit, before = _score(best), len(tried)  # so that a step of a gradient is a step of a factor
            options = {"maxfun": (1 + levels) * GRADIENTS, "ftol": 1e-3, "eps": STEP, "maxls": 5}
            bounds = [BOUNDS] * levels
            minimize(lambda f: distance(f) / unit, best.factors, method="L-BFGS-B", bounds=bounds, options=options)
            steps = tried[before:]
            best = min([best, *steps], key=_score)
        kinds = range(len(features))
        pairs = zip(*(measured(1, kinds, factors) for factors in (None, best.factors)), strict=True)
        checks = [
            Check(named(metric, kind), plain.interval(0.0), tuned.interval(0.0), difference(tuned, plain))
            for kind, (plain, tuned) in zip(features, pairs, strict=True)
        ]
        show(total, "checked")
    return Found(named(metric, features[0]), curve, steps, best, checks)


def _linear(distance, levels, rho):
    return distance(schedule(rho, levels))


def _score(point):
    return point.distance.value if np.isfinite(point.distance.value) else np.inf
