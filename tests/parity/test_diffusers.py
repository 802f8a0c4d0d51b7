"""The samplers of diffusers: from the same states, noise and times the same numbers, to 1e-9 in float64."""

import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from peers import EXACT, STABLE, Nested, Scheduler, difference

from fewstep.diffusion import VE, VP, Discrete, Linear
from fewstep.samplers import SAMPLERS, tabulate

PROCESS, ZERO_SNR, SIGMAS = Discrete("scaled_linear"), Discrete("scaled_linear", zero_snr=True), VE()
UNCLIPPED = {"clip_sample": False}
LAST = {"final_sigmas_type": "sigma_min"}  # ends at its cleanest level, our time 1/N
END = 1 / PROCESS.count


def case(peer, config, ours, end=0.0, steps=(10,), step=None, **options):
    """One method twice; `config` and `step` are the scheduler's, `options` our own."""
    label = " ".join(str(v) for v in (peer, *config.values(), ours, *options.values()) if not callable(v))
    return [pytest.param(peer, config, ours, end, k, step or {}, options, id=f"{label}, {k} steps") for k in steps]


def multistep(config, ours, **more):
    """10 steps are too few for a full-order end, 20 are not."""
    return case("DPMSolverMultistep", config, ours, steps=(10, 20), **more)


SDE = {"algorithm_type": "sde-dpmsolver++"}
NOISE = {"algorithm_type": "dpmsolver", **LAST}
INDICES = [
    *(c for eta in (0.0, 0.5, 1.0) for c in case("DDIM", UNCLIPPED, "ddim", step={"eta": eta}, eta=eta)),
    *case("DDIM", {**UNCLIPPED, "timestep_spacing": "trailing"}, "ddim"),
    *case("DDIM", {**UNCLIPPED, "set_alpha_to_one": False, "steps_offset": 1}, "ddim", END),
    *case("DDPM", UNCLIPPED, "ddpm"),
    *case("DDPM", {**UNCLIPPED, "variance_type": "fixed_large"}, "ddpm", variance="large"),
    *multistep({"solver_order": 1}, "ddim"),
    *multistep({}, "dpmpp_2m"),
    *multistep({"solver_type": "heun"}, "exponential_ab", points=2),
    *multistep({"solver_order": 3}, "dpmpp_3m", kappa=1.0),
    *multistep({**NOISE, "solver_type": "heun"}, "exponential_ab", end=END, points=2, form="noise"),
    *multistep({**SDE, "solver_order": 1}, "sde_dpmpp_1"),
    *multistep(SDE, "dpmpp_2m_sde"),
    *multistep({**SDE, "solver_type": "heun"}, "dpmpp_2m_sde", solver="heun"),
    *(
        c
        for order in (1, 2, 3)
        for c in (
            *case("UniPCMultistep", {"solver_order": order}, "unipc", order=order, lower_final=True),
            *case("UniPCMultistep", {"solver_order": order, "solver_type": "bh1", **LAST}, "unipc", END, order=order,
                  b="bh1", lower_final=True),
            *case("UniPCMultistep", {"solver_order": order, "predict_x0": False, **LAST}, "unipc", END, order=order,
                  form="noise", lower_final=True),
            *case("DEISMultistep", {"solver_order": order}, "exponential_ab", END, (10, 20), points=order,
                  form="noise"),
            *case("DEISMultistep", {"solver_order": order}, "deis", END, (10, 20), points=order, basis="lambda"),
        )
    ),
    *case("UniPCMultistep", {"solver_order": 3, "disable_corrector": list(range(10))}, "unipc", order=3,
          corrector=False, lower_final=True),
    # of n = 3 m + 1 calls that end at 0 ours are grouped otherwise: that last step stands alone
    *case("DPMSolverSinglestep", {"solver_order": 3, "solver_type": "heun"}, "dpm_fast", steps=(8, 11), form="data",
          taylor=True),
    *case("DPMSolverSinglestep", {"solver_order": 3, "solver_type": "heun", "lower_order_final": True, **LAST},
          "dpm_fast", END, (7, 8, 9), form="data", taylor=True),
    *case("DPMSolverSinglestep", {"solver_order": 3, "solver_type": "heun", "lower_order_final": True, **NOISE},
          "dpm_fast", END, (7, 8, 9), taylor=True),
    *(
        c
        for predictor, corrector in ((1, 1), (1, 2), (2, 2), (3, 3), (3, 4))
        for tau in (0.0, 0.5, 1.0)
        for c in case(
            "SASolver",
            {"predictor_order": predictor, "corrector_order": corrector, "tau_func": lambda t, tau=tau: tau},
            "sa_solver", END, predictor=predictor, corrector=corrector, tau=tau, few_steps=False, slope="published",
            lower_final=True,
        )
    ),
]  # fmt: skip
LEVELS = [
    *case("EulerDiscrete", {}, "euler"),
    *case("EulerDiscrete", {"use_karras_sigmas": True}, "euler"),
    *case("HeunDiscrete", {}, "heun"),
    *case("KDPM2Discrete", {}, "dpm2"),
    *case("EulerAncestralDiscrete", {}, "euler_ancestral"),
    *case("KDPM2AncestralDiscrete", {}, "dpm2_ancestral"),
]
EDM = [
    *case("EDMEuler", {}, "euler"),
    *case("EDMDPMSolverMultistep", {}, "dpmpp_2m", steps=(10, 20)),
    *case("EDMDPMSolverMultistep", {"solver_order": 3}, "dpmpp_3m", steps=(10, 20), kappa=1.0),
    *case("EDMDPMSolverMultistep", SDE, "dpmpp_2m_sde", steps=(10, 20)),
    *case("EDMDPMSolverMultistep", {**SDE, "solver_type": "heun"}, "dpmpp_2m_sde", solver="heun"),
]
FLOW = [
    *case("FlowMatchEulerDiscrete", {}, "euler"),
    *case("FlowMatchEulerDiscrete", {"shift": 3.0}, "euler"),
    *case("FlowMatchHeunDiscrete", {"shift": 3.0}, "heun"),
]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
ARGUMENTS = "peer, config, ours, end, steps, step, options"


def velocity(den):
    def answer(x, t):
        pred = den(x, t)
        return pred.eps - pred.x0

    return answer


def edm_output(den, data=0.5):
    """The raw F of EDM's preconditioning."""

    def answer(x, t):
        sigma = SIGMAS.sigma(t)
        skip, out = data**2 / (sigma**2 + data**2), sigma * data / np.hypot(sigma, data)
        return (den(x, t).x0 - skip * x) / out

    return answer


def v(den):
    def answer(x, t):
        pred = den(x, t)
        return den.process.alpha(t) * pred.eps - den.process.sigma(t) * pred.x0

    return answer


@pytest.mark.parametrize(ARGUMENTS, INDICES)
def test_on_whole_timesteps(peer, config, ours, end, steps, step, options):
    peer = Scheduler(peer, steps, **STABLE, **config)
    assert difference(peer, SAMPLERS[ours], PROCESS, peer.indices(PROCESS, end), step=step, **options) < EXACT


@pytest.mark.parametrize(ARGUMENTS, LEVELS)
def test_on_noise_levels(peer, config, ours, end, steps, step, options):
    """Schedulers whose state is x0 + sigma eps."""
    peer = Scheduler(peer, steps, **STABLE, **config)
    assert difference(peer, SAMPLERS[ours], SIGMAS, peer.levels / SIGMAS.sigma_max, step=step, **options) < EXACT


@pytest.mark.parametrize(("skip", "ours"), [(True, "plms"), (False, "pndm")])
@pytest.mark.parametrize("steps", [10, 20])
def test_pndm(skip, ours, steps):
    """Each of our steps begins at one of its timesteps, whatever it calls in between."""
    peer = Scheduler("PNDM", steps, **STABLE, skip_prk_steps=skip, steps_offset=1)
    n = 1 + np.arange(0, 1000, 1000 // steps)[::-1]
    assert difference(peer, SAMPLERS[ours], PROCESS, np.append((n + 1) / PROCESS.count, END)) < EXACT


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms(order):
    peer = Scheduler("LMSDiscrete", 10, **STABLE, use_karras_sigmas=True)
    times, options = peer.levels / SIGMAS.sigma_max, {"points": order, "denoise": False}
    assert difference(peer, SAMPLERS["lms"], SIGMAS, times, step={"order": order}, **options) < EXACT


@pytest.mark.parametrize("steps", [3, 10])
def test_ipndm(steps):
    """By a network of v, on levels of our own that stay above sigma = 0."""
    times = np.linspace(1, 1e-3, steps + 1)
    peer = Scheduler("IPNDM", steps, trained_betas=VP().sigma(times).tolist())
    assert difference(peer, SAMPLERS["ipndm"], VP(), times, v) < EXACT


@pytest.mark.parametrize(ARGUMENTS, EDM)
def test_of_edm(peer, config, ours, end, steps, step, options):
    peer = Scheduler(peer, steps, sigma_max=14.0, **config)
    times = peer.levels / SIGMAS.sigma_max
    assert difference(peer, SAMPLERS[ours], SIGMAS, times, edm_output, step, **options) < EXACT


@pytest.mark.parametrize(ARGUMENTS, FLOW)
def test_of_flow_matching(peer, config, ours, end, steps, step, options):
    peer = Scheduler(peer, steps, **config)
    assert difference(peer, SAMPLERS[ours], Linear(), peer.levels, velocity, step, **options) < EXACT


def test_dpm_solver_sde(monkeypatch):
    """k-diffusion's DPM++ SDE."""
    monkeypatch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))  # it would draw the noise
    module = import_module("diffusers.schedulers.scheduling_dpmsolver_sde")
    peer = Scheduler(module.DPMSolverSDEScheduler, 10, **STABLE, use_karras_sigmas=True)
    times = peer.levels / SIGMAS.sigma_max
    peer.tape = Nested(tabulate(SAMPLERS["dpmpp_sde"](SIGMAS, times)))
    peer.scheduler.noise_sampler = peer.tape.draw
    assert difference(peer, SAMPLERS["dpmpp_sde"], SIGMAS, times) < EXACT


def test_zero_terminal_snr():
    """From alpha = 0, by a v-prediction."""
    peer = Scheduler(
        "DDIM", 10, **STABLE, **UNCLIPPED, timestep_spacing="trailing", rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
    )  # fmt: skip
    assert difference(peer, SAMPLERS["ddim"], ZERO_SNR, peer.indices(ZERO_SNR), v) < EXACT


@pytest.mark.parametrize("kind", ["midpoint", "heun"])
@pytest.mark.parametrize("steps", [7, 9])
def test_second_order_steps_in_geometric_progression(kind, steps):
    """Inner calls at half of a step: every second level is a time of our grid."""
    peer = Scheduler("DPMSolverSinglestep", steps, **STABLE, solver_type=kind, use_exponential_sigmas=True)
    times = np.append(PROCESS.time(-np.log(peer.levels[:-1][::2])), 0.0)
    assert difference(peer, SAMPLERS["dpmpp_2s"], PROCESS, times, taylor=kind == "heun") < EXACT


@pytest.mark.parametrize("steps", [7, 10])
def test_third_order_steps_in_geometric_progression(steps):
    """Inner calls at thirds of a step (of solver_type "midpoint": test_differences.py)."""
    peer = Scheduler(
        "DPMSolverSinglestep", steps, **STABLE, solver_order=3, solver_type="heun", use_exponential_sigmas=True
    )
    times = np.append(PROCESS.time(-np.log(peer.levels[:-1][::3])), 0.0)
    assert difference(peer, SAMPLERS["dpmpp_3s"], PROCESS, times, taylor=True) < EXACT


def test_the_noise_levels_themselves():
    names = {"linear": {"beta_schedule": "linear"}, "scaled_linear": STABLE,
             "cosine": {"beta_schedule": "squaredcos_cap_v2"}}  # fmt: skip
    t = (np.arange(1000) + 1) / 1000
    for ours, config in names.items():
        theirs = Scheduler("DDIM", 10, **config).scheduler.alphas_cumprod.numpy()
        np.testing.assert_allclose(Discrete(ours).alpha(t) ** 2, theirs, rtol=1e-11)
