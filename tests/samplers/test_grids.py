"""Step grids: ends, monotony, spacing by the published formulas, refusals."""

from functools import partial, wraps

import numpy as np
import pytest
from checks import each

from fewstep.diffusion import VE, VP, Cosine, Discrete, Linear, Shifted
from fewstep.samplers import GRIDS, SAMPLERS, ddim, karras, log_snr, quadratic, table_at, tabulate, uniform
from fewstep.samplers.exact import Moments, moments
from fewstep.samplers.grids import AYS, arctan, ays, beta, bong_tangent, flux_mu, polyexponential, shifted

ELSEWHERE = ("leading", "trailing", "linspace", "quadratic_ddim", "dp")  # test_index_grids.py, test_optimal_grid.py
GRIDS = {name: grid for name, grid in GRIDS.items() if name not in ELSEWHERE} | {
    "beta sigma": wraps(beta)(partial(beta, domain="sigma")),
    "ays svd": wraps(ays)(partial(ays, table="svd")),
}
every = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


@every
@each
@pytest.mark.parametrize("steps", [1, 2, 3, 17, 1000])
def test_ends_and_monotony(grid, process, steps):
    """Exactly from the first to the last time of the process, in `steps` steps."""
    times = grid(process, steps)
    assert times.dtype == np.float64
    assert times.shape == (steps + 1,)
    assert (np.diff(times) < 0).all()
    in_time = grid in [GRIDS[name] for name in ("uniform", "quadratic", "shifted", "beta", "bong_tangent")]
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
    with pytest.raises(ValueError, match="steps is a whole number"):
        grid(VP(), steps)


BY_SNR = ["log_snr", "polyexponential", "karras", "arctan", "beta sigma"]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [*((name, None, 0.0) for name in BY_SNR), *((name, 1.0, None) for name in [*BY_SNR, "ays"])],
)
def test_infinite_ends_are_refused(name, start, end):
    with pytest.raises(ValueError, match="finite ends"):
        GRIDS[name](Linear(), 4, start=start, end=end)


def levels(process, times):
    return process.sigma(times) / process.alpha(times)


def digits(value):
    return f"{float(value):.10g}"


def test_golden_arctan():
    sigma = VE().sigma(arctan(VE(), 10))
    assert [digits(sigma[i]) for i in (1, 5)] == ["5.331176319", "0.8315544833"]
    assert sigma[10] == 0


@each
@pytest.mark.parametrize("std", [0.3, 2.0])
def test_arctan(process, std):
    theta = np.arctan(levels(process, arctan(process, 8, 0.9, 0.1, std=std)) / std)
    np.testing.assert_allclose(np.diff(theta), (theta[-1] - theta[0]) / 8, rtol=1e-9)


@pytest.mark.parametrize("std", [0.3, 2.0])
def test_arctan_is_the_best_grid_of_ddim_on_a_gaussian(std):
    """The std of the samples over the exact one is cos((theta_0 - theta_K) / K)^K, and less on every other grid."""
    process, start, end = VP(), 0.99, 0.02

    def ratio(times):
        first, last = (std**2 * process.alpha(t) ** 2 + process.sigma(t) ** 2 for t in (start, end))
        begin = Moments(np.zeros(1), np.array([first]))
        return np.sqrt(moments(tabulate(ddim(process, times)), process, 0.0, std**2, begin).var[0] / last)

    theta = np.arctan(levels(process, np.array([start, end])) / std)
    best = np.cos((theta[0] - theta[1]) / 8) ** 8
    assert ratio(arctan(process, 8, start, end, std=std)) == pytest.approx(best, rel=1e-11)
    others = [grid(process, 8, start, end) for name, grid in GRIDS.items()]
    others += [arctan(process, 8, start, end, std=1.3 * std)]
    rng = np.random.default_rng(0)
    inner = arctan(process, 8, start, end, std=std)
    others += [[start, *(inner[1:-1] * rng.uniform(0.99, 1.01, 7)), end] for _ in range(20)]
    assert all(ratio(times) < best for times in others)


@each
@pytest.mark.parametrize("rho", [1.0, 2.0])
def test_polyexponential(process, rho):
    lam = process.lam(polyexponential(process, 8, 0.9, 0.1, rho=rho))
    want = [lam[-1] + (lam[0] - lam[-1]) * (1 - i / 8) ** rho for i in range(9)]
    np.testing.assert_allclose(lam, want, rtol=1e-9, atol=1e-9)
    if rho == 1:
        np.testing.assert_array_equal(process.lam(log_snr(process, 8, 0.9, 0.1)), lam)


def test_shifted_is_uniform_on_the_shifted_path():
    plain, warped = Linear(), Shifted(Linear(), 3.0)
    np.testing.assert_allclose(plain.sigma(shifted(plain, 9)), warped.sigma(uniform(warped, 9)), rtol=1e-13)
    np.testing.assert_allclose(shifted(VP(), 9, shift=1.0), uniform(VP(), 9), rtol=1e-13)


def test_flux_shift():
    """t = e^mu / (e^mu + 1/r - 1), with mu on a line through two token counts."""
    assert [flux_mu(256), flux_mu(4096)] == [0.5, 1.15]
    r, shift = 1 - np.arange(8) / 8, np.exp(1.15)
    np.testing.assert_allclose(shifted(Linear(), 8, mu=1.15)[:-1], shift / (shift + 1 / r - 1), rtol=1e-13)
    np.testing.assert_array_equal(shifted(VP(), 8, mu=0.0), shifted(VP(), 8, shift=1.0))


@pytest.mark.parametrize("steps", [8, 20])
def test_beta_is_the_published_one_before_rounding(steps):
    """Index rint(F^-1(1 - i/K) (N - 1)); F by integrating the density, with u = sin^2(a) against its ends."""
    indices = 1000 * beta(Discrete(), steps)[:-1] - 1
    angle = np.linspace(0, np.pi / 2, 200001)
    density = (np.sin(angle) * np.cos(angle)) ** 0.2
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    quantiles = np.sin(np.interp(1 - np.arange(steps) / steps, mass / mass[-1], angle)) ** 2
    np.testing.assert_allclose(indices, 999 * quantiles, atol=1e-2)
    assert len(set(np.rint(indices))) == steps


def test_beta_in_sigma_is_another_grid():
    one, other = (VE().sigma(beta(VE(), 9, domain=domain)) for domain in ("time", "sigma"))
    assert other[8] == pytest.approx(0.002, rel=1e-12)
    assert one[4] == pytest.approx(0.002 + 79.998 * 0.5765, rel=0.01)
    assert other[4] == pytest.approx(40.001, rel=1e-9)  # the median is the middle
    assert other[9] == one[9] == 0


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_ays_at_ten_steps_is_the_table(name):
    """Within the roundings of the printed indices: 999, 850, ... of Stable Diffusion."""
    process = Discrete("scaled_linear")
    times = ays(process, 10, table=name)
    np.testing.assert_allclose(levels(process, times[:-1]), AYS[name][:-1], rtol=1e-4)
    assert times[-1] == 0
    printed = {
        "sd15": [999, 850, 736, 645, 545, 455, 343, 233, 124, 24],
        "sdxl": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13],
    }
    assert np.abs(process.index(times[:-1]) - printed[name]).max() < 0.6


def test_ays_of_other_counts_is_log_linear():
    process = VE(0.002, 700.0)
    sigma = process.sigma(ays(process, 20, table="svd"))
    np.testing.assert_allclose(sigma[:-1:2], AYS["svd"][:-1], rtol=1e-9)
    between = np.append(sigma[:-1:2], AYS["svd"][-1])
    np.testing.assert_allclose(sigma[1::2] ** 2, between[:-1] * between[1:], rtol=1e-9)


@pytest.mark.parametrize("table", AYS)
def test_ays_goes_through_its_eleventh_level(table):
    """However many steps: without it the last step starts at the tenth level, and samplers do not converge."""
    process = VE(0.002, 700.0)
    sigma = process.sigma(ays(process, 160, table=table))
    assert AYS[table][-1] < sigma[-2] < 1.2 * AYS[table][-1]
    drawn = moments(table_at(SAMPLERS["dpmpp_2m"], process, 160, partial(ays, table=table)), process, 0.7, 0.09)
    assert np.sqrt(drawn.var[0]) == pytest.approx(0.3, abs=2e-3)


@each
def test_bong_tangent(process):
    """It passes the middle at the pivot, where its steps are longest, and both pieces are arctangents."""
    (first, last), u = process.ends, np.linspace(0, 1, 101)
    times = bong_tangent(process, 100, middle=0.3, pivot=0.6, slope=5.0)
    level = (times - last) / (first - last)
    assert level[60] == pytest.approx(0.3, abs=1e-12)
    assert abs(np.argmax(-np.diff(level)) - 59.5) <= 1
    upper, lower = np.tan((level[:61] - 0.3) / 0.7 * np.arctan(3.0)), np.tan((1 - level[60:] / 0.3) * np.arctan(2.0))
    np.testing.assert_allclose(upper, 5 * (0.6 - u[:61]), atol=1e-9)
    np.testing.assert_allclose(lower, 5 * (u[60:] - 0.6), atol=1e-9)


def test_indices_in_place_of_times_are_refused():
    indices = np.array([999, 666, 333, 0.0])
    for sampler in ("ddim", "dpmpp_2m", "heun"):
        with pytest.raises(ValueError, match=r"between 0 \(data\) and 1 \(noise\): got 999.*is the time n / N"):
            table_at(SAMPLERS[sampler], Discrete(), 3, lambda process, steps: indices)
    for times in ([1.0, 0.5, -0.1], [1.01, 0.5], [np.nan, 0.5, 0.0]):
        with pytest.raises(ValueError, match="between 0"):
            tabulate(ddim(VP(), np.array(times)))
    assert table_at(SAMPLERS["ddim"], Discrete(), 3, lambda process, steps: indices / 1000).nfe == 3


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: ays(VP(), 5, table="sd3"), "ays.table is one of sd15, sdxl, svd, not 'sd3'"),
        (lambda: beta(VP(), 5, domain="lam"), "beta.domain is 'time' or 'sigma', not 'lam'"),
        (lambda: beta(VP(), 5, alpha=0.0), "beta.alpha"),
        (lambda: arctan(VP(), 5, std=-1.0), "arctan.std"),
        (lambda: shifted(VP(), 5, shift=0.0), "shifted.shift"),
    ],
)
def test_refused_options(build, what):
    with pytest.raises(ValueError, match=what):
        build()


def test_ays_below_its_last_level_goes_on_to_the_end():
    times = ays(Linear(), 6, start=0.1)
    assert times[0] == 0.1
    assert (np.diff(times) < 0).all()
    assert times[-1] == 0
