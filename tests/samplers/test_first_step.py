"""An analytic first step is the sampler itself on a denoiser that answers the first call so."""

from functools import partial

import numpy as np
import pytest
from checks import INSIDE, MIXTURE, PROCESSES, SAMPLERS

from fewstep.diffusion import VE, VP, Linear, Pred, oracles
from fewstep.samplers import Row, ddim, ddpm, dpmpp_2m, exact, heun, log_snr, table_at, tabulate, uniform
from fewstep.samplers.adams import deis, ipndm, ipndm_v, plms, pndm
from fewstep.samplers.exponential import dpmpp_3m
from fewstep.samplers.first_step import analytical_first_step
from fewstep.samplers.runge_kutta import rho_rk2, rho_rk4
from fewstep.samplers.singlestep import dpm_solver_2

each = pytest.mark.parametrize("name", PROCESSES)
METHODS = {
    "ddim": ddim, "heun": heun, "rho_rk2": rho_rk2, "rho_rk4": rho_rk4, "ipndm": ipndm, "ipndm_v": ipndm_v,
    "deis": deis, "plms": plms, "pndm": pndm, "dpmpp_2m": dpmpp_2m, "dpmpp_3m": dpmpp_3m,
    "dpm_solver_2": dpm_solver_2,
}  # fmt: skip


def answering(den, process, first):
    """The denoiser, but for what it says at the time `first`."""

    def answer(x, t, s=None):
        if t != first:
            return den(x, t, s)
        alpha, sigma = process.alpha(t), process.sigma(t)
        eps = x / np.hypot(alpha, sigma)
        return Pred((x - sigma * eps) / alpha if alpha > 0 else np.zeros_like(x), eps)

    return answer


def check(rows, process, grid, rtol=1e-9):
    table, short = tabulate(rows(process, grid)), tabulate(analytical_first_step(rows(process, grid), process))
    assert short.nfe == table.nfe - 1
    den, x = oracles.mixture(process, *MIXTURE), process.sigma(grid[0]) * np.linspace(-2, 2, 7)[:, None]
    begin = short.start * np.linspace(-2, 2, 7)[:, None]
    want = exact.follow(table, answering(den, process, grid[0]), x)
    np.testing.assert_allclose(exact.follow(short, den, begin), want, rtol=rtol, atol=rtol)


@each
@pytest.mark.parametrize("rows", METHODS.values(), ids=METHODS)
def test_it_is_the_method_with_that_answer(rows, name):
    """Also where predictions of many rows ago are remembered."""
    check(rows, PROCESSES[name], INSIDE[name])


@pytest.mark.parametrize("rows", METHODS.values(), ids=METHODS)
def test_from_alpha_zero(rows):
    check(rows, Linear(), uniform(Linear(), 8))


@pytest.mark.parametrize("rows", [deis, heun, ipndm], ids=["deis", "heun", "ipndm"])
def test_it_becomes_exact_as_the_noise_grows(rows):
    """On N(0, I), as alpha / sigma: eps differs by half its square, over a step of length sigma."""
    gaps = []
    for most in (1e3, 1e4, 1e5):
        process = VE(sigma_max=most)
        grid = np.array([1.0, *(np.geomspace(5.0, 0.1, 6) / most)])
        table = tabulate(rows(process, grid))
        whole, short = (
            exact.moments(t, process, 0.0, 1.0).var[0]
            for t in (table, tabulate(analytical_first_step(rows(process, grid), process)))
        )
        gaps.append(abs(short / whole - 1))
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]


@pytest.mark.parametrize("sampler", ["deis", "ipndm", "ipndm_v", "rho_rk2"])
def test_as_an_option_it_gives_a_step_more_for_the_same_calls(sampler):
    rows, process = SAMPLERS[sampler].rows, VP()
    table = table_at(partial(rows, first="analytic"), process, 5, uniform)
    whole = tabulate(rows(process, uniform(process, 6 if sampler != "rho_rk2" else 3)))
    assert (table.nfe, whole.nfe) == (5, 6)
    np.testing.assert_array_equal(table.t, whole.t[1:])


def test_what_it_refuses():
    process = VP()
    with pytest.raises(ValueError, match="first is 'network' or 'analytic', not 'none'"):
        deis(process, uniform(process, 3), first="none")
    with pytest.raises(ValueError, match="no call of one"):
        tabulate(deis(process, uniform(process, 1), first="analytic"))
    with pytest.raises(ValueError, match="rows without noise"):
        tabulate(analytical_first_step(ddpm(process, uniform(process, 3)), process))
    noisy = [Row(1.0, x=1.0), Row(0.8, x=1.0, noise=0.1), Row(0.6, x=1.0, past=(0.1, 0.1))]
    with pytest.raises(ValueError, match="rows without noise"):
        tabulate(analytical_first_step(noisy, process))


def test_the_start_of_the_first_row_is_the_table_s():
    assert tabulate([Row(0.5, start=3.0)]).start == 3.0
    assert np.isnan(tabulate([Row(0.5)]).start)
    assert tabulate(deis(VP(), log_snr(VP(), 4), first="analytic")).start < VP().sigma(1.0)
