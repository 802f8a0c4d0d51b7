"""The samplers and grids of k-diffusion: from the same states, noise and levels the same numbers, to 1e-9 in float64.

Of the package only its one file of samplers is loaded, without what it imports for other uses:
pip install --no-deps k-diffusion.
"""

import numpy as np
import pytest
from peers import EXACT, Nested, Tape, beginning, doubled, load_k_diffusion, mixture, run, sampled, torch

from fewstep.diffusion import VE, VP
from fewstep.samplers import GRIDS, SAMPLERS, tabulate

PROCESS = VE()
HIGH, LOW = 14.6, 0.03


K = load_k_diffusion()


def difference(peer, ours, given=(), tape=None, noise=False, steps=10, **options):
    """The largest difference between both ends; `given` are the peer's options, `options` ours.  `noise`: the peer
    is given its noise.
    """
    sigmas = HIGH * GRIDS["karras"](VE(LOW, HIGH), steps)
    table = tabulate(SAMPLERS[ours](PROCESS, sigmas / PROCESS.sigma_max, **options))
    den, x, given = mixture(PROCESS), beginning(PROCESS, sigmas[0] / PROCESS.sigma_max), dict(given)
    tape = (tape or (lambda table: Tape()))(table)
    if noise:
        given["noise_sampler"] = tape.draw
    theirs = sampled(K, peer, table, den, x, sigmas, tape, **given)
    if "churn" in options:  # its noise before the first call; our state begins after that
        raised = PROCESS.sigma(table.t[0]) ** 2 - sigmas[0] ** 2
        x = x + options["s_noise"] * np.sqrt(max(raised, 0.0)) * tape.rows[-1]
    return np.abs(run(table, den, x, tape.rows) - theirs).max()


@pytest.mark.parametrize(("peer", "ours"), [("euler", "euler"), ("heun", "heun"), ("dpm_2", "dpm2")])
def test_deterministic(peer, ours):
    assert difference(peer, ours) < EXACT


@pytest.mark.parametrize("lower_final", [False, None])
def test_dpmpp_2m(lower_final):
    """It never lowers the order but at sigma = 0, as ours from 15 steps on."""
    assert difference("dpmpp_2m", "dpmpp_2m", steps=20 if lower_final is None else 10, lower_final=lower_final) < EXACT


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms(order):
    assert difference("lms", "lms", {"order": order}, points=order, denoise=False) < EXACT


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("peer", "given", "ours", "options"),
    [
        ("euler_ancestral", {}, "euler_ancestral", {}),
        ("dpm_2_ancestral", {}, "dpm2_ancestral", {}),
        ("dpmpp_2s_ancestral", {}, "dpmpp_2s_ancestral", {}),
        ("dpmpp_2m_sde", {}, "dpmpp_2m_sde", {"lower_final": False}),
        ("dpmpp_2m_sde", {"solver_type": "heun"}, "dpmpp_2m_sde", {"solver": "heun", "lower_final": False}),
        ("dpmpp_3m_sde", {}, "dpmpp_3m_sde", {"kappa": 1.0, "lower_final": False}),
    ],
)
def test_stochastic(peer, given, ours, options, eta):
    assert difference(peer, ours, {**given, "eta": eta}, noise=True, eta=eta, **options) < EXACT


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dpmpp_sde(eta):
    """Its two noises of a step come from one Brownian motion; ours do from one path of the SDE."""
    assert difference("dpmpp_sde", "dpmpp_sde", {"eta": eta}, Nested, noise=True, eta=eta) < EXACT


@pytest.mark.parametrize(("low", "high"), [(0.0, np.inf), (0.05, 10.0)])
def test_churn(low, high):
    given = {"s_churn": 4.0, "s_noise": 1.003, "s_tmin": low, "s_tmax": high}
    assert difference("heun", "edm", given, churn=4.0, s_noise=1.003, s_min=low, s_max=high) < EXACT


def test_dpm_fast():
    """Steps of equal length in lam, of orders 3, ..., with calls at halves or thirds of them; it ends above 0."""
    for calls, orders in ((7, (3, 3, 1)), (8, (3, 3, 2)), (9, (3, 3, 2, 1))):
        ends = np.linspace(np.log(HIGH), np.log(LOW), len(orders) + 1)
        inner = [np.linspace(a, b, k, endpoint=False) for a, b, k in zip(ends[:-1], ends[1:], orders, strict=True)]
        times = np.exp(np.concatenate([*inner, ends[-1:]])) / PROCESS.sigma_max
        table, den, tape = tabulate(SAMPLERS["dpm_fast"](PROCESS, times)), mixture(PROCESS), Tape()
        x = beginning(PROCESS, times[0])

        def model(x, sigma, den=den):
            return torch.from_numpy(den(x.numpy(), sigma[0].item() / PROCESS.sigma_max).x0)

        with doubled(K, tape):
            theirs = K.sample_dpm_fast(
                model, torch.from_numpy(x), LOW, HIGH, calls, disable=True, noise_sampler=lambda *_: 0.0
            )
        assert np.abs(run(table, den, x, {}) - theirs.numpy()).max() < EXACT


def test_grids():
    ours, tape = VE(LOW, HIGH), Tape()
    with doubled(K, tape):
        for grid, theirs in (
            (GRIDS["karras"](ours, 10), K.get_sigmas_karras(10, LOW, HIGH)),
            (GRIDS["karras"](ours, 10, rho=3.0), K.get_sigmas_karras(10, LOW, HIGH, rho=3.0)),
            (GRIDS["log_snr"](ours, 10), K.get_sigmas_exponential(10, LOW, HIGH)),
            (GRIDS["polyexponential"](ours, 10, rho=2.0), K.get_sigmas_polyexponential(10, LOW, HIGH, rho=2.0)),
        ):
            np.testing.assert_allclose(grid * HIGH, theirs.numpy(), rtol=1e-12)
        vp = K.get_sigmas_vp(10).numpy()
    times = GRIDS["uniform"](VP(), 9)
    np.testing.assert_allclose(VP().sigma(times) / VP().alpha(times), vp[:-1], rtol=1e-9)
