"""Langevin steps by the norms of each image."""

import jax
import numpy as np
import pytest
from checks import MIXTURE, check_moments

from fewstep.diffusion import VE, VP, oracles
from fewstep.samplers import analytic_ddpm, ddpm, dpmpp_2m, draw, exact, heun, langevin, log_snr, tabulate, uniform
from fewstep.samplers.corrector import draw_corrected
from fewstep.samplers.start import initial

DEN = oracles.mixture(VP(), *MIXTURE)


def noise(seed, row, shape):
    return np.asarray(jax.random.normal(jax.random.fold_in(jax.random.key(seed), row + 1), shape), np.float64)


@pytest.mark.parametrize("corrections", [1, 2])
def test_it_is_the_published_step_with_the_norms_of_an_image(corrections):
    snr, shape, grid = 0.2, (5, 3), uniform(VP(), 3)
    table = tabulate(ddpm(VP(), grid))
    want = []
    for seed in (4, 9):
        x, row = np.asarray(initial(VP(), grid[0], np.array([seed], np.uint32), shape), np.float64), 0
        for i in range(3):
            pred = DEN(x, grid[i])
            x = table.x0[i] * pred.x0 + table.eps[i] * pred.eps + table.noise[i] * noise(seed, row, shape)
            row += 1
            for _ in range(corrections if i < 2 else 0):
                score, z = -DEN(x, grid[i + 1]).eps / VP().sigma(grid[i + 1]), noise(seed, row, shape)
                delta = 2 * (snr * np.linalg.norm(z) / np.linalg.norm(score)) ** 2
                x, row = x + delta * score + np.sqrt(2 * delta) * z, row + 1
        want.append(x[0])
    got = draw_corrected(DEN, table, [4, 9], shape, snr=snr, corrections=corrections)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("process", [VP(), VE()], ids=str)
def test_on_one_point_in_many_dimensions_it_is_langevin(process):
    """There |score| / |z| is 1 / sigma, up to the root of the number of dimensions."""
    den, grid = oracles.gaussian(process, 0.3, 1e-4), log_snr(process, 6)[:4]
    adaptive = draw_corrected(den, tabulate(ddpm(process, grid)), range(2), (40_000,))
    fixed = draw(den, tabulate(langevin(process, grid)), range(2), (40_000,))
    assert np.abs(adaptive - fixed).max() < 0.01 * process.sigma(grid[-1])


def test_an_image_does_not_depend_on_its_batch():
    table = tabulate(ddpm(VP(), uniform(VP(), 6)))
    sixteen = np.asarray(draw_corrected(DEN, table, range(16), (4, 2)))
    for i in (0, 11):
        np.testing.assert_allclose(draw_corrected(DEN, table, [i], (4, 2))[0], sixteen[i], rtol=1e-5, atol=1e-5)


def test_small_steps_keep_the_law():
    den = oracles.gaussian(VP(), 0.2, 0.5)
    table = tabulate(ddpm(VP(), log_snr(VP(), 200)))
    drawn = np.asarray(draw_corrected(den, table, range(2**8), (64,), snr=0.05), np.float64)
    check_moments(drawn, exact.Moments(np.array([0.2]), np.array([0.25])))


@pytest.mark.parametrize("rows", [dpmpp_2m, heun, analytic_ddpm], ids=lambda rows: rows.__name__)
def test_other_tables_are_refused(rows):
    with pytest.raises(ValueError, match="one call per step"):
        draw_corrected(DEN, tabulate(rows(VP(), uniform(VP(), 4))), [0], (3,))
    with pytest.raises(ValueError, match="one call per step"):
        draw_corrected(DEN, tabulate(ddpm(VP(), uniform(VP(), 4), noise="path")), [0], (3,))
