"""AMED: its identities, its step against one written out, its calls, and what training gains."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import Count, Counting, on
from refused import message
from small_network import denoiser

from fewstep.diffusion import VP, Cond, Linear, oracles
from fewstep.diffusion.levers import cfg, interval
from fewstep.errors import UsageError
from fewstep.samplers import GRIDS, SAMPLERS, draw, tabulate
from fewstep.samplers.amed import amed, mean_direction
from fewstep.samplers.cost import passes
from fewstep.samplers.fit.amed import Training, train
from fewstep.samplers.fit.fit import trajectories
from fewstep.samplers.fit.teacher import distance
from fewstep.samplers.predictor import AWAY, untrained

POINTS = ([[-0.7, 0.5], [0.6, 0.6], [0.1, -0.6]], [0.15, 0.2, 0.25], [0.3, 0.3, 0.4])
FIRST = pytest.mark.parametrize("first", [pytest.param("network", marks=pytest.mark.slow), "analytic"])


class Calls(Count):
    """A number of calls, whose times differ between images."""

    def add(self, t):
        self.calls += 1


def mixture(process):
    return oracles.mixture(process, *map(np.array, POINTS))


def saying(r, c, a):
    """The predictor that says the same for all."""
    shares = np.array([r, (1 + (c - 1) / AWAY) / 2, (1 + (a - 1) / AWAY) / 2])
    return untrained(0)._replace(head_bias=np.log(shares / (1 - shares)))


def with_middles(process, grid):
    """The grid with the middle in half log-SNR of each step that has a length."""
    inner = [
        float(process.time((process.lam(t) + process.lam(s)) / 2))
        for t, s in pairwise(grid)
        if process.alpha(t) > 0 and process.sigma(s) > 0
    ]
    return np.sort([*grid, *inner])[::-1]


@on("linear", "vp", "ve")
@FIRST
@pytest.mark.parametrize("grid", ["uniform", "log_snr"])
def test_untrained_it_is_its_base(process, first, grid):
    with jax.enable_x64(True):
        den, times = mixture(process), GRIDS[grid](process, 4)
        rows = tabulate(amed(process, times, first))
        base = tabulate(SAMPLERS["dpm_solver_2"](process, times, first=first))
        fine = tabulate(SAMPLERS["ipndm"](process, with_middles(process, times), first=first))
        assert rows.nfe == base.nfe == fine.nfe
        for form, table in {"amed": base, "dpm_solver_2": base, "ipndm": fine}.items():
            found = draw(mean_direction(untrained(0), form)(den), rows, range(8), (2,))
            np.testing.assert_allclose(found, draw(den, table, range(8), (2,)), rtol=0, atol=1e-10)


@on("vp")
def test_a_step_is_that_of_the_paper(process):
    """Written out with rho = sigma / alpha."""
    r, c, a, t, s = 0.3, 1.03, 0.9, 0.8, 0.4
    den, x = mixture(process), np.array([[0.3, -1.2], [1.1, 0.4]])
    rho = {time: process.sigma(time) / process.alpha(time) for time in (t, s)}
    y, first = x / process.alpha(t), den(x, t)
    rho_m = rho[s] ** r * rho[t] ** (1 - r)
    y_m, at = y + (rho_m - rho[t]) * first.eps, float(process.time(np.float64(-np.log(a * rho_m))))
    slope = (y_m - den(process.alpha(at) * y_m, at).x0) / rho_m
    share = (rho_m - rho[t]) / (rho[s] - rho[t])
    mean = {
        "amed": c * slope,
        "dpm_solver_2": c * ((1 - 0.5 / r) * first.eps + slope / (2 * r)),
        "ipndm": share * first.eps + (1 - share) * c * (3 * slope - first.eps) / 2,
    }
    with jax.enable_x64(True):
        table = tabulate(amed(process, np.array([t, s])))
        for form, along in mean.items():
            found = draw(mean_direction(saying(r, c, a), form)(den), table, [0, 1], (2,), start=x)
            np.testing.assert_allclose(found, process.alpha(s) * (y + (rho[s] - rho[t]) * along), rtol=1e-5)


def test_with_the_weights_of_dpm_solver_2_the_order_is_2_for_every_r():
    process = Linear()
    errors, steps = [], (16, 32, 64)
    with jax.enable_x64(True):
        den = oracles.gaussian(process, 0.2, 0.5)
        x = np.linspace(-1, 1, 5)[:, None]
        for count in steps:
            grid = np.linspace(0.9, 0.1, count + 1)
            v = [process.alpha(t) ** 2 * 0.25 + process.sigma(t) ** 2 for t in (0.9, 0.1)]
            want = process.alpha(0.1) * 0.2 + np.sqrt(v[1] / v[0]) * (x - process.alpha(0.9) * 0.2)
            lever = mean_direction(saying(0.3, 1.0, 1.0), "dpm_solver_2")
            found = draw(lever(den), tabulate(amed(process, grid)), range(5), (1,), start=x)
            errors.append(np.abs(found - want).max())
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(2, abs=0.2)


@FIRST
def test_calls_are_those_that_are_made(first):
    for process in (Linear(), VP()):
        table, count = tabulate(amed(process, GRIDS["uniform"](process, 4), first)), Calls()
        assert table.nfe == {"Linear": 6, "VP": 8}[type(process).__name__] - (first == "analytic")
        den = mean_direction(untrained(0))(Counting(mixture(process), count, compiled=True))
        draw(den, table, range(3), (2,))
        jax.effects_barrier()
        assert count.calls == table.nfe == passes(den, table, (2,))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["amed", "ipndm"])
def test_an_image_does_not_depend_on_its_batch_and_has_times_of_its_own(form):
    den = denoiser()
    width = den(np.zeros((1, 8, 8, 1), np.float32), 0.5).features.shape[1]
    rng, plain = np.random.default_rng(0), untrained(width)
    predictor = plain._replace(head=0.1 * rng.standard_normal(plain.head.shape).astype(np.float32))
    table = tabulate(amed(Linear(), GRIDS["uniform"](Linear(), 4)))
    many = draw(mean_direction(predictor, form)(den), table, range(6), (8, 8, 1))
    for i in (0, 5):
        one = draw(mean_direction(predictor, form)(den), table, [i], (8, 8, 1))
        np.testing.assert_allclose(one[0], many[i], rtol=1e-4, atol=1e-5)
    r, _, _ = predictor(rng.standard_normal((6, width)).astype(np.float32), jnp.zeros(6), jnp.ones(6))
    assert len(set(np.asarray(r).tolist())) == 6


@pytest.mark.slow
def test_guidance_passes_the_features_of_the_conditional_prediction():
    den, x, cond = denoiser(), np.ones((2, 8, 8, 1), np.float32), Cond(np.array([1, 2], np.int32))
    want = den(x, 0.5, None, cond).features
    for lever in (cfg(2.0), lambda den: interval(0.1, 9.0)(cfg(2.0)(den)), lambda den: interval(9.0)(cfg(2.0)(den))):
        np.testing.assert_allclose(lever(den)(x, 0.5, None, cond).features, want, rtol=1e-5)


def test_a_reference_solution_passes_it_unchanged():
    """Rows without jumps are those of the model."""
    den, table = mixture(VP()), tabulate(SAMPLERS["dpmpp_3m"](VP(), GRIDS["uniform"](VP(), 12)))
    lever = mean_direction(saying(0.3, 1.02, 0.9))
    np.testing.assert_allclose(*(draw(one, table, range(4), (2,)) for one in (lever(den), den)), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("process", [Linear(), pytest.param(VP(), marks=pytest.mark.slow)], ids=repr)
@pytest.mark.parametrize("form", ["amed", pytest.param("ipndm", marks=pytest.mark.slow)])
def test_training_lowers_the_error_on_other_noise(process, form):
    den = mixture(process)
    teacher, judged = (trajectories(den, range(first, first + 120), (2,), calls=60) for first in (500_000, 1_000_000))
    found = train(den, 6, teacher, Training(form, epochs=8))
    before, after = (
        distance(mean_direction(one, form)(den), found.table, judged) for one in (untrained(0), found.predictor)
    )
    assert found.table.nfe == 6
    assert after < 0.8 * before
    assert found.errors["fitted"] < found.errors["unfitted"]


def test_what_is_refused():
    den = mixture(Linear())
    teacher = trajectories(den, range(8), (2,), calls=10)
    assert "with nfe=1 has" in message(lambda: train(den, 1, teacher), UsageError)
    assert "amed, dpm_solver_2, ipndm: got 'heun'" in message(lambda: mean_direction(untrained(0), "heun"), UsageError)
    table = tabulate(amed(Linear(), GRIDS["uniform"](Linear(), 4)))
    other = mean_direction(untrained(3))(denoiser())
    assert "with 3 features, and this model has 8" in message(lambda: draw(other, table, [0], (8, 8, 1)), UsageError)
    assert "requires jumps to any time" in message(lambda: draw(den, table, [0], (2,)), UsageError)
