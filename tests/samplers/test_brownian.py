"""Noise of one Brownian path: its law, the strong order of every sampler that can take it, and what does not change it.

From the increments of the path alone the strong order is 1 at most, whatever the weak one.  It is 1/2 where the noise
begins, ends or vanishes by a step: up to there half of a step's noise is missing.
"""

import inspect
from itertools import pairwise

import numpy as np
import pytest
from checks import MEAN, MIXTURE, STD, Zero, check_moments
from strong import apart, from_solution

from fewstep.diffusion import VP, oracles
from fewstep.samplers import GRIDS, SAMPLERS, Row, dpmpp_2m_sde, draw, exact, table_at, tabulate, uniform
from fewstep.samplers.euler import classical

PROCESS = VP()
ABLE = [name for name, one in SAMPLERS.items() if "noise" in inspect.signature(one.rows).parameters]
# Options that make the same SDE at every number of steps; by default edm's churn is bounded on few.
OPTIONS = {
    "ddim": {"eta": 1.0},
    "edm": {"churn": 2.0},
    "sa_solver": {"tau": 1.0, "few_steps": False},
    "interpolant_sde heun": {"method": "heun"},
}
HALF = {"edm": "no noise in the first step", "interpolant_sde heun": "likewise", "analytic_ddim": "noise of sqrt(h)"}
REVERSE = {  # samplers of one SDE, the classical one
    "ddpm": {},
    "euler_maruyama": {"w": classical},
    "sde_dpmpp_1": {},
    "dpmpp_2m_sde": {},
    "dpmpp_3m_sde": {},
    "dpmpp_sde": {},
    "dpmpp_2s_ancestral": {},
    "analytic_ddpm": {},
    "sa_solver": {"tau": 1.0, "few_steps": False},
    "er_sde": {"phi": "sde"},
}


def table(name, steps, noise="path", **options):
    grid = GRIDS["log_snr"](PROCESS, steps)
    return tabulate(SAMPLERS[name.split()[0]](PROCESS, grid, noise=noise, **OPTIONS.get(name, {}) | options))


def test_all_but_these_can_follow_a_path():
    """restart adds noise in one place of the grid, langevin more with every step, consistency and gamma anew."""
    stochastic = {name for name, sampler in SAMPLERS.items() if sampler.stochastic}
    assert stochastic - {*ABLE} == {"restart", "langevin", "consistency", "gamma"}
    assert {*ABLE} - stochastic == {"ddim"}


@pytest.mark.parametrize("name", sorted({*ABLE, *OPTIONS}))
def test_rows_say_their_part_of_the_path(name):
    """Parts do not overlap, all noise has one, and nothing else changes."""
    fresh, path = (table(name, 16, noise) for noise in ("fresh", "path"))
    assert np.isnan(fresh.path).all()
    noisy = (path.noise > 0) | (path.spread > 0)
    assert noisy.sum() >= 14
    parts = path.path[noisy]
    assert (parts[:, 0] > parts[:, 1]).all()
    assert (parts[1:, 0] <= parts[:-1, 1]).all()
    for column, a, b in zip(fresh._fields, fresh, path, strict=True):
        if column != "path":
            np.testing.assert_array_equal(a, b, err_msg=column)


@pytest.mark.parametrize("name", sorted({*ABLE, *OPTIONS}))
def test_strong_order(name):
    """Between 16, 64, 256 and 1024 steps images move by less and less: exactly, on Gaussian data."""
    tables = [table(name, steps) for steps in (16, 64, 256, 1024)]
    far, near, nearer = (apart(a, b, PROCESS) for a, b in pairwise(tables))
    assert far > near > nearer
    assert np.log(near / nearer) / np.log(4) == pytest.approx(0.5 if name in HALF else 1, abs=0.15)


@pytest.mark.parametrize("name", REVERSE)
def test_all_samplers_of_an_sde_make_its_solution_on_the_path(name):
    """The solution is known in closed form: a sampler's own limit could be another one."""
    errors = [from_solution(table(name, steps, **REVERSE[name]), PROCESS, PROCESS.ends[1]) for steps in (64, 256, 1024)]
    assert np.log(errors[1] / errors[2]) / np.log(4) == pytest.approx(1, abs=0.1), errors


DRAWN = ("edm",)  # the others with the slow tests


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in DRAWN)) for name in sorted({*ABLE, *OPTIONS})]
)
def test_images_move_as_the_tables_say(name):
    """The same seeds at 16, 64 and 256 steps, drawn."""
    den, n = oracles.gaussian(PROCESS, MEAN, STD), 32 * 8
    tables = [table(name, steps) for steps in (16, 64, 256)]
    drawn = [np.asarray(draw(den, one, range(32), (8,)), np.float64) for one in tables]
    for i, j in ((0, 1), (1, 2)):
        moved = np.sqrt(((drawn[i] - drawn[j]) ** 2).mean())
        assert moved == pytest.approx(apart(tables[i], tables[j], PROCESS), rel=4 / np.sqrt(2 * n) + 0.02)


@pytest.mark.slow
def test_on_fresh_noise_images_change_whole():
    den = oracles.mixture(PROCESS, *MIXTURE)

    def moved(noise):
        coarse, fine = (draw(den, table("dpmpp_2m_sde", steps, noise), range(64), (4,)) for steps in (16, 64))
        return float(np.abs(coarse - fine).mean())

    assert moved("path") < 0.25 * moved("fresh")


def noise_of(rows, process=PROCESS, count=2**8, shape=(2**6,)):
    rows = [Row(t, x=1.0, noise=sd, path=(t, s)) for t, s, sd in rows]
    zero = np.zeros((count, *shape))
    return np.asarray(draw(Zero(process), tabulate(rows), range(count), shape, start=zero), np.float64)


@pytest.mark.slow
def test_its_law():
    """Of unit variance; one increment over [0, 1] is the sum of its parts; disjoint parts are independent."""
    whole, late, early = (noise_of([row]) for row in ((1.0, 0.0, 1.0), (1.0, 0.7, 1.0), (0.7, 0.0, 1.0)))
    unit = exact.Moments(np.zeros(1), np.ones(1))
    for z in (whole, late, early):
        check_moments(z, unit)
    np.testing.assert_allclose(np.sqrt(0.3) * late + np.sqrt(0.7) * early, whole, atol=1e-3)
    np.testing.assert_allclose(noise_of([(1.0, 0.7, np.sqrt(0.3)), (0.7, 0.0, np.sqrt(0.7))]), whole, atol=1e-3)
    assert abs((late * early).mean()) < 4 / np.sqrt(late.size)
    check_moments(noise_of([(2.5e-5, 1.5e-5, 1.0)]), unit)


@pytest.mark.slow
def test_its_bits_do_not_depend_on_the_batch():
    """From zero: what the noise is added to may be multiplied and added in one rounding or in two."""
    rows = tabulate(Row(t, x=1.0, noise=1.0, path=(t, s)) for t, s in ((1.0, 0.6), (0.6, 0.3), (0.3, 0.01)))
    zero = np.zeros((16, 3, 2, 1))
    all_of_them = np.asarray(draw(Zero(PROCESS), rows, range(100, 116), (3, 2, 1), start=zero))
    assert np.std(all_of_them) > 1
    for n in (1, 4, 5):
        some = draw(Zero(PROCESS), rows, range(116 - n, 116), (3, 2, 1), start=zero[:n])
        np.testing.assert_array_equal(some, all_of_them[-n:])


def test_other_words_are_refused():
    with pytest.raises(ValueError, match=r"dpmpp_2m_sde\.noise is .*fresh.*path"):
        table_at(lambda process, grid: dpmpp_2m_sde(process, grid, noise="brown"), PROCESS, 4, uniform)
