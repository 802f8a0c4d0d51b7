"""Step grids: ends, monotony, spacing by the published formulas, refusals."""

from functools import partial

import numpy as np
import pytest
from checks import PROCESSES

from diffusion import VE, VP, Cosine, Linear
from samplers import GRIDS, karras, log_snr, quadratic, uniform

each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
every = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
IN_TIME = ("uniform", "quadratic")


@every
@each
@pytest.mark.parametrize("steps", [1, 2, 3, 17, 1000])
def test_ends_and_monotony(grid, process, steps):
    """Exactly from the first to the last time of the process, in `steps` steps."""
    times = grid(process, steps)
    assert times.dtype == np.float64
    assert times.shape == (steps + 1,)
    assert (np.diff(times) < 0).all()
    in_time = grid.__name__ in IN_TIME
    assert times[0] == pytest.approx((process.ends if in_time else process.snr_ends)[0], abs=1e-15)
    assert times[-1] == pytest.approx(process.ends[1], abs=1e-15)
    assert (times[:-1] > 0).all()


@every
@each
def test_explicit_ends(grid, process):
    """Kept, and no step is added behind them."""
    for steps in (1, 2, 8):
        times = grid(process, steps, start=0.9, end=0.1)
        assert times.shape == (steps + 1,)
        np.testing.assert_allclose(times[[0, -1]], [0.9, 0.1], rtol=1e-14)


@each
def test_uniform(process):
    first, last = process.ends
    want = [first + (last - first) * i / 7 for i in range(8)]
    np.testing.assert_allclose(uniform(process, 7), want, rtol=1e-13, atol=1e-15)


@each
def test_quadratic(process):
    first, last = np.sqrt(process.ends)
    want = [(first + (last - first) * i / 7) ** 2 for i in range(8)]
    np.testing.assert_allclose(quadratic(process, 7), want, rtol=1e-12, atol=1e-15)


@each
def test_log_snr(process):
    lam = process.lam(log_snr(process, 8, 0.9, 0.1))
    np.testing.assert_allclose(np.diff(lam), np.full(8, (process.lam(0.1) - process.lam(0.9)) / 8), rtol=1e-9)


@each
@pytest.mark.parametrize("rho", [7.0, 3.0])
def test_karras(process, rho):
    """Eq. 5 of EDM for sigma/alpha."""
    times = karras(process, 8, 0.9, 0.1, rho=rho)
    high, low = ((process.sigma(t) / process.alpha(t)) ** (1 / rho) for t in (0.9, 0.1))
    want = [(high + i / 8 * (low - high)) ** rho for i in range(9)]
    np.testing.assert_allclose(process.sigma(times) / process.alpha(times), want, rtol=1e-10)


def test_karras_on_ve_is_edm_eq_5_and_a_step_to_zero():
    sigma = VE().sigma(karras(VE(), 18))
    want = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    np.testing.assert_allclose(sigma[:-1], want, rtol=1e-11)
    assert sigma[-1] == 0


def test_karras_of_large_rho_is_log_snr():
    times = partial(karras, rho=1e6)(VP(), 8)
    np.testing.assert_allclose(times, log_snr(VP(), 8), rtol=1e-4)


@pytest.mark.parametrize("grid", [log_snr, karras])
def test_the_last_step_is_extra_where_the_noise_ends_at_zero(grid):
    for process, low in ((Linear(), 1e-3), (VE(), 0.002 / 80)):
        for steps in (2, 9):
            times = grid(process, steps)
            assert times[-1] == 0
            assert times[-2] == (low if steps > 1 else times[0])
    for process in (VP(), Cosine()):
        levels = process.lam(log_snr(process, 9))
        np.testing.assert_allclose(np.diff(levels), (levels[-1] - levels[0]) / 9, rtol=1e-9)


@every
@pytest.mark.parametrize("steps", [0, -3, 2.5])
def test_steps_are_whole_and_positive(grid, steps):
    with pytest.raises(ValueError, match="whole number of steps"):
        grid(VP(), steps)


@pytest.mark.parametrize(("start", "end"), [(1.0, None), (None, 0.0)])
@pytest.mark.parametrize("name", ["log_snr", "karras"])
def test_infinite_ends_are_refused(name, start, end):
    with pytest.raises(ValueError, match="finite ends"):
        GRIDS[name](Linear(), 4, start=start, end=end)
