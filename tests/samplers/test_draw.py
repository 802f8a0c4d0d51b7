"""The loop: precision, seeds, batches, noise that step counts share, variances, flow maps, and what it refuses."""

import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import MEAN, STD, Zero, check_moments

from fewstep.diffusion import VELOCITY, VP, Cond, Linear, Model, cfg, oracles
from fewstep.diffusion.levers.bounds import ClipX0
from fewstep.diffusion.variance import LearnedRange
from fewstep.samplers import (
    Row,
    ddim,
    ddpm,
    dpmpp_2m,
    draw,
    draw_many,
    euler,
    exact,
    heun,
    optimal_variance,
    tabulate,
    uniform,
)  # fmt: skip
from fewstep.samplers.loop import recorded

PROCESS = VP()
MIXTURE = oracles.mixture(PROCESS, [-1.0, 0.8], [0.3, 0.4], [0.4, 0.6])
GAUSSIAN = oracles.gaussian(PROCESS, MEAN, STD)
SHAPE = (3, 2)
START = np.random.default_rng(0).standard_normal((4, *SHAPE))


def table(sampler, steps=6, process=PROCESS, **options):
    return tabulate(sampler(process, uniform(process, steps), **options))


def test_float32_and_jax():
    images = draw(MIXTURE, table(ddpm), range(4), SHAPE)
    assert isinstance(images, jax.Array)
    assert images.dtype == jnp.float32
    assert images.shape == (4, *SHAPE)


@pytest.mark.parametrize("sampler", [ddim, heun, dpmpp_2m])
def test_start_and_trajectory_agree_with_the_host(sampler):
    """The compiled loop from a given state is `exact.follow` in float64, and a trajectory changes nothing."""
    rows = table(sampler)
    images, seen = draw(MIXTURE, rows, range(4), SHAPE, start=START, trajectory=True)
    np.testing.assert_allclose(images, exact.follow(rows, MIXTURE, START), rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(images, draw(MIXTURE, rows, range(4), SHAPE, start=START), rtol=1e-5, atol=1e-5)
    assert seen.x.shape == seen.x0.shape == (rows.nfe, 4, *SHAPE)
    np.testing.assert_allclose(seen.x[0], START, rtol=1e-6)
    for i in range(rows.nfe):
        pred = MIXTURE(np.asarray(seen.x[i], np.float64), rows.t[i])
        np.testing.assert_allclose(seen.x0[i], pred.x0, rtol=1e-3, atol=1e-3)
    last = rows.x[-1] * seen.x[-1] + rows.x0[-1] * pred.x0 + rows.eps[-1] * pred.eps
    if sampler is ddim:
        np.testing.assert_allclose(images, last, rtol=1e-3, atol=1e-3)


def test_trajectory_of_a_stochastic_table_ends_in_the_draw():
    images, _ = draw(MIXTURE, table(ddpm), range(4), SHAPE, trajectory=True)
    np.testing.assert_allclose(images, draw(MIXTURE, table(ddpm), range(4), SHAPE), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("calls", [[0], [5, 0, 3], [*range(12)]])
@pytest.mark.parametrize("sampler", [heun, ddpm])
def test_records_are_of_the_trajectory(sampler, calls):
    """Also in another order, and of more calls than a record is padded to."""
    rows = table(sampler, 12)
    images, x0 = recorded(MIXTURE, rows, range(4), SHAPE, calls)
    end, seen = draw(MIXTURE, rows, range(4), SHAPE, trajectory=True)
    np.testing.assert_allclose(images, end, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(x0, np.asarray(seen.x0)[calls], rtol=1e-5, atol=1e-5)


def test_standard_deviation_of_the_initial_state():
    rows = [Row(0.7, x=1.0)]
    own, asked = (np.asarray(draw(Zero(PROCESS), tabulate(rows, sd), range(4), SHAPE)) for sd in (None, 2.5))
    np.testing.assert_allclose(asked, own * 2.5 / PROCESS.sigma(0.7), rtol=1e-5)


def test_draw_many_is_draw():
    """With labels, and a last batch that has to be filled up."""
    label = np.array([0, 1, 0, 1, 2, 2, 1], np.int32)
    many = draw_many(MIXTURE, table(ddpm), range(10, 17), SHAPE, cond=Cond(label), batch=3)
    assert isinstance(many, np.ndarray)
    once = draw(MIXTURE, table(ddpm), range(10, 17), SHAPE, cond=Cond(label))
    np.testing.assert_allclose(many, once, rtol=1e-5, atol=1e-5)
    start = np.random.default_rng(2).standard_normal((7, *SHAPE))
    many = draw_many(MIXTURE, table(ddpm), range(10, 17), SHAPE, cond=Cond(label), start=start, batch=3)
    once = draw(MIXTURE, table(ddpm), range(10, 17), SHAPE, cond=Cond(label), start=start)
    np.testing.assert_allclose(many, once, rtol=1e-5, atol=1e-5)
    guided = draw_many(cfg(2.0)(MIXTURE), table(ddim), range(7), SHAPE, cond=Cond(label), batch=3)
    single = draw(cfg(2.0)(MIXTURE), table(ddim), [3], SHAPE, cond=Cond(label[3:4]))
    np.testing.assert_allclose(guided[3:4], single, rtol=1e-5, atol=1e-5)


def test_draw_many_compiles_once():
    run = sys.modules["fewstep.samplers.loop"]._run
    draw_many(MIXTURE, table(ddim), range(4), (1, 5), batch=4)
    before = run._cache_size()
    draw_many(MIXTURE, table(ddim), range(10), (1, 5), batch=4)
    assert run._cache_size() == before


def test_step_counts_and_samplers_share_a_compilation():
    run = sys.modules["fewstep.samplers.loop"]._run
    draw(MIXTURE, table(ddim, 3), range(2), (1, 5))
    before = run._cache_size()
    for rows in (table(ddim, 7), table(ddpm, 500), table(heun, 3)._replace(past=np.zeros((6, 0)))):
        draw(MIXTURE, rows, range(2), (1, 5))
    draw(oracles.mixture(PROCESS, [-1.0, 0.5], [0.3, 0.4], [0.4, 0.6]), table(ddim), [7, 2**32 - 1], (1, 5))
    assert run._cache_size() == before


@pytest.mark.parametrize("seeds", [[], [-1], [2**32], [0.5], [[1, 2]], ["a"], np.zeros(0, np.int32)], ids=str)
def test_what_is_not_a_list_of_seeds(seeds):
    for run in (draw, draw_many):
        with pytest.raises(ValueError, match="whole numbers"):
            run(MIXTURE, table(ddim), seeds, SHAPE)


def jumps(process, times):
    return [Row(t, s=s, x0=process.alpha(s), eps=process.sigma(s)) for t, s in pairwise(times)]


@pytest.mark.parametrize("process", [Linear(), VP()], ids=str)
@pytest.mark.parametrize("times", [(0.9, 0.05), (0.9, 0.0), (0.9, 0.6, 0.05)], ids=str)
def test_flow_map_of_a_gaussian_is_exact_in_any_number_of_steps(process, times):
    t, s = times[0], times[-1]
    rows, den = tabulate(jumps(process, times)), oracles.gaussian(process, MEAN, STD)
    v, w = ((process.alpha(u) * STD) ** 2 + process.sigma(u) ** 2 for u in (t, s))
    want = process.alpha(s) * MEAN + np.sqrt(w / v) * (START - process.alpha(t) * MEAN)
    np.testing.assert_allclose(exact.follow(rows, den, START), want, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(draw(den, rows, range(4), SHAPE, start=START), want, rtol=1e-5, atol=1e-5)
    start = exact.Moments(np.array([process.alpha(t) * MEAN]), np.array([v]))
    got = exact.moments(rows, process, MEAN, STD**2, start)
    np.testing.assert_allclose([got.mean[0], got.var[0]], [process.alpha(s) * MEAN, w], rtol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_optimal_variance_is_exact_on_gaussians(eta):
    """Algorithms.md C3.3: every marginal, whatever the share of fresh noise, in two steps."""
    grid = uniform(PROCESS, 2)
    rows = tabulate(optimal_variance(ddim(PROCESS, grid, eta), PROCESS))
    first, last = (
        (PROCESS.alpha(t) * MEAN, (PROCESS.alpha(t) * STD) ** 2 + PROCESS.sigma(t) ** 2) for t in grid[[0, -1]]
    )
    start = exact.Moments(*(np.array([a]) for a in first))
    got = exact.moments(rows, PROCESS, MEAN, STD**2, start)
    np.testing.assert_allclose([got.mean[0], got.var[0]], last, rtol=1e-11)
    x = first[0] + np.sqrt(first[1]) * np.random.default_rng(1).standard_normal((2**10, 16))
    check_moments(np.asarray(draw(GAUSSIAN, rows, range(2**10), (16,), start=x), np.float64), got)


@pytest.mark.parametrize("cap", [0.0, 0.01, 10.0])
def test_cap_of_the_variance(cap):
    """sd^2 = noise^2 + min(spread^2 Var, cap)."""
    row = Row(0.4, noise=0.3, spread=2.0, cap=cap)
    a, s = PROCESS.alpha(0.4), PROCESS.sigma(0.4)
    var = 0.3**2 + min(4 * (s * STD) ** 2 / ((a * STD) ** 2 + s**2), cap)
    got = exact.moments(tabulate([row]), PROCESS, MEAN, STD**2)
    np.testing.assert_allclose(got.var, [var], rtol=1e-12)
    check_moments(np.asarray(draw(GAUSSIAN, tabulate([row]), range(2**10), (16,)), np.float64), got)


def test_refusals():
    with pytest.raises(ValueError, match=r"requires jumps to any time.*learned only velocities at an instant"):
        draw(MIXTURE, tabulate(jumps(PROCESS, (0.9, 0.5))), [0], SHAPE)
    with pytest.raises(ValueError, match="requires jumps to any time"):
        draw(MIXTURE, tabulate([Row(0.9, x0=1.0), *jumps(PROCESS, (0.5, 0.1))]), [0], SHAPE)
    with pytest.raises(ValueError, match="requires jumps to the data"):
        draw(MIXTURE, tabulate(jumps(PROCESS, (0.9, 0.0))), [0], SHAPE)
    with pytest.raises(ValueError, match="needs the variance of x0"):
        draw(cfg(1.0)(MIXTURE), tabulate([Row(0.9, x0=1.0, spread=0.5)]), [0], SHAPE)
    with pytest.raises(ValueError, match="needs a learned range"):
        draw(GAUSSIAN, tabulate([Row(0.9, x0=1.0, noise=0.5, stretch=1.5)]), [0], SHAPE)


def test_inconsistent_levers_take_only_tables_of_the_ddim_form():
    den = ClipX0(MIXTURE, rebuild=False)
    for sampler in (euler, dpmpp_2m, heun):
        with pytest.raises(ValueError, match="alpha x0"):
            draw(den, table(sampler), [0], SHAPE)
    assert np.isfinite(draw(den, table(ddpm), [0], SHAPE)).all()


@pytest.mark.parametrize(("value", "variance"), [(0.0, "small"), (1.0, "large")])
def test_a_learned_range_ends_at_the_two_variances(value, variance):
    def told(params, x, t, d, cond, key):
        return jnp.concatenate([0 * x, 0 * x + 2 * params - 1], -1)

    model = Model(told, VP(), VELOCITY, variance=LearnedRange())
    plain = Model(lambda params, x, t, d, cond, key: 0 * x, VP(), VELOCITY)
    between, fixed = (
        draw(den.denoiser(value), table(ddpm, variance=kind), range(3), SHAPE)
        for den, kind in ((model, "range"), (plain, variance))
    )
    np.testing.assert_allclose(between, fixed, rtol=2e-5, atol=1e-6)
