"""k-diffusion's ancestral samplers: the published updates in their letters, and what they reduce to."""

from itertools import pairwise

import numpy as np
import pytest
from checks import MIXTURE, PROCESSES, assert_same, check_marginal, each

from fewstep.diffusion import VE, VP, oracles
from fewstep.samplers import Row, ddim, karras, log_snr, reduced, tabulate, uniform
from fewstep.samplers.ancestral import dpm2, dpm2_ancestral, dpmpp_2s_ancestral, euler_ancestral
from fewstep.samplers.exact import follow


def up_and_down(t, s, eta):
    up = min(s, eta * np.sqrt(s**2 * (t**2 - s**2) / t**2))
    return up, np.sqrt(s**2 - up**2)


@each
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.2])
def test_euler_ancestral_is_the_published_update_and_ddim(process, eta):
    grid, rows = uniform(process, 9, 0.95, 0.05), []
    for t, s in pairwise(grid):
        now, then = (process.sigma(a) / process.alpha(a) for a in (t, s))
        up, down = up_and_down(now, then, eta)
        alpha = process.alpha(s)
        rows.append(Row(t, x=alpha / process.alpha(t), eps=alpha * (down - now), noise=alpha * up))
    assert_same(euler_ancestral(process, grid, eta), rows, process)
    assert_same(euler_ancestral(process, grid, eta), ddim(process, grid, eta), process)


def dpm2_step(x, sigma, then, slope):
    middle = np.sqrt(sigma * then)
    return x + (then - sigma) * slope(x + (middle - sigma) * slope(x, sigma), middle)


def dpmpp_2s_step(x, sigma, then, slope):
    def clean(x, sigma):
        return x - sigma * slope(x, sigma)

    h = np.log(sigma / then)
    middle = sigma * np.exp(-h / 2)
    half = middle / sigma * x - np.expm1(-h / 2) * clean(x, sigma)
    return then / sigma * x - np.expm1(-h) * clean(half, middle)


@pytest.mark.parametrize(("rows", "step"), [(dpm2_ancestral, dpm2_step), (dpmpp_2s_ancestral, dpmpp_2s_step)])
@pytest.mark.parametrize("process", [VE(), VP()], ids=str)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_step_down_is_the_published_one(rows, step, process, eta):
    """One step at a time in x / alpha, its noise left out; and that noise."""
    den = oracles.mixture(process, *MIXTURE)

    def slope(x, sigma):
        t = float(process.time(-np.log(sigma)))
        return (x - den(process.alpha(t) * x, t).x0) / sigma

    grid = log_snr(process, 6, process.time(-2.0), process.time(3.0))
    level = process.sigma(grid) / process.alpha(grid)
    for i, (t, s) in enumerate(pairwise(grid)):
        up, down = up_and_down(level[i], level[i + 1], eta)
        table = tabulate(rows(process, [t, s], eta))
        assert table.nfe == 2
        np.testing.assert_allclose(table.noise, [0, process.alpha(s) * up], rtol=1e-11, atol=1e-12)
        x = level[i] * np.linspace(-2, 2, 7)[:, None]
        got = follow(table._replace(noise=np.zeros(2)), den, process.alpha(t) * x)
        np.testing.assert_allclose(got, process.alpha(s) * step(x, level[i], down, slope), rtol=1e-10, atol=1e-11)


@each
def test_dpm2_is_its_ancestral_form_without_noise(process):
    grid = log_snr(process, 7)
    assert_same(dpm2(process, grid), dpm2_ancestral(process, grid, eta=0.0), process)
    assert not tabulate(dpm2(process, grid)).noise.any()


def test_the_first_stage_is_ddim_and_the_methods_differ():
    process, grid = VP(), log_snr(VP(), 5)
    tables = [reduced(tabulate(rows(process, grid)), process) for rows in (dpm2_ancestral, dpmpp_2s_ancestral)]
    np.testing.assert_allclose(*(table.x0[0] for table in tables), rtol=1e-12, atol=1e-14)
    assert np.abs(tables[0].x0[1] - tables[1].x0[1]).max() > 1e-3


@pytest.mark.parametrize("rows", [dpm2_ancestral, dpmpp_2s_ancestral])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_marginals_whatever_the_noise(rows, eta):
    for process in (VP(), VE()):
        grid = log_snr(process, 2000, 0.95, 0.05)
        check_marginal(tabulate(rows(process, grid, eta)), process, grid[-1])


@pytest.mark.parametrize("rows", [dpm2_ancestral, dpmpp_2s_ancestral])
def test_one_call_where_there_is_no_midpoint(rows):
    """From alpha = 0, to sigma = 0, and where all noise is fresh (eta = 1.5 here)."""
    linear = PROCESSES["linear"]
    assert tabulate(rows(linear, uniform(linear, 2))).nfe == 2
    assert tabulate(rows(linear, uniform(linear, 3))).nfe == 4
    assert tabulate(rows(VE(), karras(VE(), 1))).nfe == 1
    assert tabulate(rows(VE(), [0.9, 0.1], eta=1.5)).nfe == 1
