"""The Langevin corrector: its step, and the bias that a fixed step leaves."""

import numpy as np
import pytest
from checks import inside

from fewstep.diffusion import VP, Linear
from fewstep.samplers import ddpm, euler_maruyama, exact, log_snr, reduced, tabulate, uniform
from fewstep.samplers.euler import classical
from fewstep.samplers.langevin import langevin


@inside
def test_without_corrections_it_is_the_predictor(process, grid):
    for predictor, rows in (("ddpm", ddpm(process, grid)), ("reverse_sde", euler_maruyama(process, grid, classical))):
        got = reduced(tabulate(langevin(process, grid, corrections=0, predictor=predictor)), process)
        want = reduced(tabulate(rows), process)
        for name in ("t", "start", "x0", "noise"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


@inside
def test_a_correction_is_a_langevin_step(process, grid):
    """x + delta score + sqrt(2 delta) z with score = -eps / sigma and delta = 2 (snr |z| / |score|)^2, |eps| = |z|."""
    rows = list(langevin(process, grid, snr=0.2))
    for row, s in zip(rows[1::2], grid[1:-1], strict=True):
        sigma = process.sigma(s)
        delta = 2 * (0.2 * sigma) ** 2
        assert row.t == s
        np.testing.assert_allclose([row.x, row.x0, row.eps, row.noise], [1, 0, -delta / sigma, np.sqrt(2 * delta)])
    assert len(rows) == 2 * (len(grid) - 1) - 1


def test_corrections_have_too_much_variance_in_the_limit():
    """Of a single point of data, sigma^2 / (1 - snr^2): Langevin steps of a fixed size are biased."""
    for snr in (0.1, 0.16, 0.3):
        rows = list(langevin(VP(), uniform(VP(), 2), snr, corrections=2000))[:-1]
        got = exact.moments(tabulate(rows), VP(), 0.0, 0.0).var[0]
        np.testing.assert_allclose(got, VP().sigma(uniform(VP(), 2)[1]) ** 2 / (1 - snr**2), rtol=1e-9)


@pytest.mark.parametrize("process", [VP(), Linear()], ids=["vp", "linear"])
def test_finer_grids_do_not_remove_the_bias_and_a_smaller_snr_does(process):
    """Mid-way, at half log-SNR 0, on N(0, 0.25): where the noise is half of the variance and more."""

    def bias(snr, count):
        grid = log_snr(process, count, process.time(-2.0), process.time(0.0))
        rows = list(langevin(process, grid, snr))
        start = np.array([process.alpha(grid[0]) ** 2 * 0.25 + process.sigma(grid[0]) ** 2])
        got = exact.moments(tabulate(rows), process, 0.0, 0.25, exact.Moments(np.zeros(1), start)).var[0]
        return got / (process.alpha(grid[-1]) ** 2 * 0.25 + process.sigma(grid[-1]) ** 2) - 1

    coarse, fine, finest = (bias(0.16, n) for n in (400, 800, 1600))
    assert fine > 0.002
    assert finest / fine == pytest.approx(1, abs=0.2)
    assert bias(0.08, 1600) < 0.3 * finest
    assert coarse < finest  # what ddpm does too little hides some of it on coarse grids


def test_unknown_predictor():
    with pytest.raises(ValueError, match=r"langevin\.predictor is 'ddpm' or 'reverse_sde', not 'x'"):
        tabulate(langevin(VP(), uniform(VP(), 3), predictor="x"))
