"""Where a public implementation is not the method: what it does instead, reproduced to 1e-9, and what that costs."""

from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from peers import EXACT, STABLE, Scheduler, beginning, difference, mixture, run
from scipy.integrate import solve_ivp

from fewstep.diffusion import VE, VP, Discrete
from fewstep.samplers import SAMPLERS, exact, singlestep, tabulate

PROCESS = Discrete("scaled_linear")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def apart(peer, steps, sampler, config, end=0.0, **options):
    """How far a scheduler's end is from that of our sampler on the same timesteps and noise."""
    peer = Scheduler(peer, steps, **STABLE, **config)
    return difference(peer, sampler, PROCESS, peer.indices(PROCESS, end), **options)


def test_dpmpp_3m_has_half_of_the_second_derivative():
    """In every public code; and so order 2, not 3."""
    third = SAMPLERS["dpmpp_3m"]
    assert apart("DPMSolverMultistep", 20, third, {"solver_order": 3}, kappa=1.0) < EXACT
    assert apart("DPMSolverMultistep", 20, third, {"solver_order": 3}, kappa=2.0) > 1e-3
    assert abs(exact.order(third, VP(), 3, kappa=1.0) - 2) < 0.3
    assert abs(exact.order(third, VP(), 3, kappa=2.0) - 3) < 0.3


def diffusers_3m_sde(process, grid):
    """Its third-order step has 1 + (e^-2h - 1 + 2h) / (2h)^2 - 1/2 before the second difference, where k-diffusion has
    all of that but the 1: a bracket with the sign of its neighbour.
    """
    times = list(grid)
    for i, row in enumerate(SAMPLERS["dpmpp_3m_sde"](process, grid, kappa=1.0)):
        if len(row.past) == 2:
            h2, h1, h = (process.lam(b) - process.lam(a) for a, b in pairwise(times[i - 2 : i + 2]))
            newer, older = np.array([1, -1, 0]) * h / h1, np.array([0, 1, -1]) * h / h2
            extra = -process.alpha(times[i + 1]) * (newer - older) * h / (h1 + h2)
            row = row._replace(x0=row.x0 + extra[0], past=tuple(row.past + extra[1:]))
        yield row


def test_3m_sde_of_diffusers_has_a_wrong_sign():
    """k-diffusion's, which is ours with kappa = 1 (test_k_diffusion.py), has weak order 2; that of diffusers 1."""
    config = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "solver_type": "heun"}
    assert apart("DPMSolverMultistep", 20, diffusers_3m_sde, config) < EXACT
    assert apart("DPMSolverMultistep", 20, SAMPLERS["dpmpp_3m_sde"], config, kappa=1.0) > 0.5
    assert abs(exact.order(diffusers_3m_sde, VP(), 1, steps=320, stochastic=True) - 1) < 0.3
    for kappa in (1.0, 2.0):
        assert abs(exact.order(SAMPLERS["dpmpp_3m_sde"], VP(), 2, steps=320, stochastic=True, kappa=kappa) - 2) < 0.3


@pytest.mark.parametrize("steps", [7, 10])
def test_third_order_singlestep_midpoint_of_diffusers(steps):
    """Its second inner state is one of 2S's midpoint, where the paper has the slope's own integral; both of order 3."""
    peers = [
        Scheduler("DPMSolverSinglestep", steps, **STABLE, solver_order=3, use_exponential_sigmas=True) for _ in range(2)
    ]
    times = np.append(PROCESS.time(-np.log(peers[0].levels[:-1][::3])), 0.0)
    assert difference(peers[0], SAMPLERS["dpmpp_3s"], PROCESS, times) > 1e-2
    through = singlestep._through

    def inner(step, ways):
        return singlestep._midpoint(step, *ways) if len(ways) == 1 else through(step, ways)

    with mock.patch.object(singlestep, "_through", inner):
        assert difference(peers[1], SAMPLERS["dpmpp_3s"], PROCESS, times) < EXACT
        assert abs(exact.order(SAMPLERS["dpmpp_3s"], VP(), 3) - 3) < 0.3


def test_two_point_sa_solver():
    """Its slope's integral is h^2 / 2 (slope = "published"; test_diffusers.py): not exact where D is on a line in lam,
    as ours is; both of order 2.
    """
    config = {"predictor_order": 2, "corrector_order": 2, "tau_func": lambda t: 0.0}
    options = {"predictor": 2, "corrector": 2, "tau": 0.0, "few_steps": False, "lower_final": True}
    solver = SAMPLERS["sa_solver"]
    assert apart("SASolver", 10, solver, config, 1 / PROCESS.count, **options, slope="published") < EXACT
    assert apart("SASolver", 10, solver, config, 1 / PROCESS.count, **options) > 1e-3
    for slope in ("published", "exact"):
        measured = exact.order(solver, VP(), 2, slope=slope, **options | {"lower_final": False})
        assert abs(measured - 2) < 0.3


def test_unipc_bh1_of_diffusers_is_not_finite_at_sigma_zero():
    """Its B(h) = h is infinite there; ours takes the predicted clean image."""
    config = {"solver_type": "bh1"}
    assert np.isnan(apart("UniPCMultistep", 10, SAMPLERS["unipc"], config, order=2, b="bh1", lower_final=True))


@pytest.mark.parametrize(("steps", "better"), [(10, True), (50, False)])
def test_last_step_of_lms(steps, better):
    """To sigma = 0 it is extrapolated like the others (denoise=False), ours is the predicted clean image: closer to the
    exact flow in ten steps here, further in fifty.
    """
    process = VE()
    times = Scheduler("LMSDiscrete", steps, **STABLE, use_karras_sigmas=True).levels / process.sigma_max
    den, x = mixture(process), beginning(process, times[0])
    span = np.array([times[0], 1e-8]) * process.sigma_max

    def slope(sigma, x):
        return den(x[:, None], sigma / process.sigma_max).eps[:, 0]

    end = solve_ivp(slope, span, x[:, 0], method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1:]
    published, ours = (
        np.abs(run(tabulate(SAMPLERS["lms"](process, times, denoise=denoise)), den, x, {}) - end).max()
        for denoise in (False, True)
    )
    assert (ours < published) == better
