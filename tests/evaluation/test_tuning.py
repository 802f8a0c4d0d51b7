"""The search for factors of skips, on a network whose best factors are known."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from fewstep.diffusion import VELOCITY, Cond, Denoiser, Linear, oracles
from fewstep.diffusion.levers import clip_x0, skip_tuning, under
from fewstep.diffusion.predict import predict_shape
from fewstep.evaluation import tuning
from fewstep.evaluation.distances import frechet
from fewstep.evaluation.features import Pixels, quantized
from fewstep.evaluation.reference import reference
from fewstep.evaluation.tuning import tune
from fewstep.samplers import SAMPLERS, draw_many, table_at
from fewstep.train.data import Arrays, Dataset, Split
from fewstep.train.sharding import make_mesh
from fewstep.train.utils.errors import RunError

BEST = (0.7, 1.2)


def velocity(params, x, t, d, cond, key):
    """That of N(m, 0.3^2) images whose mean m is 0 where the factors of both levels are the best ones: it is 0.5 times
    what the inner one is off, and in the first column of pixels as much as the outer one is."""
    skip = np.ones((1, 2), np.float32) if cond.skip is None else cond.skip
    inner, outer = (skip[:, i, None, None, None] - best for i, best in enumerate(BEST))
    mean = 0.5 * inner + outer * (np.arange(4) == 0)[None, None, :, None]
    pred = oracles.gaussian(Linear(), mean, 0.3)(x, t)
    return pred.eps - pred.x0


@pytest.fixture(scope="module")
def data():
    images = np.clip(np.random.default_rng(0).normal(0.0, 0.3, (1200, 4, 4, 1)), -1, 1).astype(np.float32)
    return Dataset("grey", Split(Arrays(images[:400])), Split(Arrays(images[400:])), 0)


@pytest.fixture
def run(data, tmp_path):
    """Of a network of two levels; velocity may be another one."""

    def make(velocity=velocity, levels=2):
        den = Denoiser.from_function(velocity, {}, Linear(), VELOCITY, levels=levels)
        made = {
            "name": "grey",
            "folder": tmp_path,
            "shape": (4, 4, 1),
            "data": data,
            "denoiser": den,
            "model": den.model,
        }
        return SimpleNamespace(**made, mesh=make_mesh((-1, 1, 1)), under=partial(under, den))

    return make


def found(run, values=(0.5, 1.0, 1.5), levers=(), window=None, **options):
    table = table_at(SAMPLERS["ddim"], Linear(), 4)
    options = {"metric": "FD", "features": [Pixels(run.shape)], "count": 300, **options}
    return tune(run, table, list(levers), window, list(values), **options)


def test_the_innermost_factor_is_found_between_the_values(run):
    """The outer level being at 1, a quarter of the pixels are off by -0.2, and the best inner factor makes up for a
    quarter of that: 0.5 (rho - 0.7) = 0.2 / 4."""
    result = found(run())
    assert result.best.factors == pytest.approx((0.8, 1.0), abs=0.03)
    rhos = [point.factors[0] for point in result.curve]
    assert rhos == sorted(rhos)
    assert {0.5, 1.0, 1.5} < {*rhos}
    assert len(rhos) <= 3 + tuning.LOOKS
    assert not result.steps
    assert result.best.distance.value == min(point.distance.value for point in result.curve)


def test_all_factors_are_found_by_gradient(run):
    result = found(run(), refine=True)
    assert result.best.factors == pytest.approx(BEST, abs=0.05)
    assert 0 < len(result.steps) <= 3 * tuning.GRADIENTS
    tried = [point.factors for point in [*result.curve, *result.steps]]
    assert len(set(tried)) == len(tried)
    (check,) = result.checks
    assert check.difference.high < 0
    assert check.difference.value == pytest.approx(check.tuned.value - check.without.value)


def test_what_is_tuned_on_and_what_is_checked_are_apart(run, data):
    """Every second held-out image, and seeds after seeds; each distance is that of what is drawn."""
    here = run()
    result = found(here, values=[1.0], seed=5)
    held_out = reference(data, 2).held_out
    table, halves = table_at(SAMPLERS["ddim"], Linear(), 4), (held_out[::2], held_out[1::2])
    for half, factors, told in (
        (0, (1.0, 1.0), result.best.distance.value),
        (1, None, result.checks[0].without.value),
        (1, (1.0, 1.0), result.checks[0].tuned.value),
    ):
        den = here.denoiser if factors is None else skip_tuning(factors)(here.denoiser)
        images = quantized(draw_many(den, table, np.arange(300) + 5 + 300 * half, here.shape))
        assert told == pytest.approx(frechet(*map(Pixels(here.shape), (images, halves[half]))), rel=1e-4)


@pytest.mark.parametrize("metric", ["KID", "energy", "SW"])
def test_other_distances_are_tuned_on_too(run, metric):
    """Also those that may be below 0."""
    result = found(run(), metric=metric, refine=True, features=[Pixels((4, 4, 1))])
    assert result.best.factors == pytest.approx(BEST, abs=0.15)
    assert all(point.distance.low <= point.distance.value <= point.distance.high for point in result.curve)


@pytest.mark.slow
def test_levers_and_windows_are_around_what_is_tried(run):
    """Under levers that hold the image at 0.1 no factor matters, nor does one in a window that is never open."""
    for options in ({"levers": [clip_x0(0.0999, 0.1)]}, {"window": (1e6, 2e6)}):
        result = found(run(), values=(0.5, 1.5), **options)
        values = [point.distance.value for point in result.curve]
        assert max(values) - min(values) < 1e-3 * max(values)
    windowed = found(run(), values=(0.5, 1.0), window=(0.0, np.inf)).best
    assert windowed.factors == found(run(), values=(0.5, 1.0)).best.factors


def test_what_diverges_is_no_best_one(run):
    here = run()
    broken = Denoiser.from_function(_diverging, np.float32(0.8), Linear(), VELOCITY, levels=2)
    here.under, here.denoiser = partial(under, broken), broken
    result = found(here, values=(0.5, 0.9))
    assert result.best.factors[0] >= 0.8
    assert np.isnan(result.curve[0].distance.value)
    broken = Denoiser.from_function(_diverging, np.float32(5.0), Linear(), VELOCITY, levels=2)
    here.under, here.denoiser = partial(under, broken), broken
    with pytest.raises(RunError, match="diverge at every factor"):
        found(here, values=(0.5, 0.9))


def _diverging(below, x, t, d, cond, key):
    """Infinite where the innermost factor is less than `below`."""
    u = velocity(None, x, t, d, cond, key)
    return u if cond.skip is None else u / (cond.skip[:, :1, None, None] >= below)


def test_networks_without_skips_are_refused(run):
    assert predict_shape(run().denoiser, np.zeros((1, 4, 4, 1)), 0.5, None, Cond()).x0.shape == (1, 4, 4, 1)
    with pytest.raises(ValueError, match="skip_tuning is for U-Nets"):
        found(run(levels=0))
