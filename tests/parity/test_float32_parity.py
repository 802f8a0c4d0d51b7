"""`draw` itself, in float32: a network with the same weights, the same noise and timesteps in JAX and in torch."""

import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import STABLE, diffusers, torch

from fewstep.diffusion import EPS, VE, Denoiser, Discrete, edm
from fewstep.samplers import SAMPLERS, draw, tabulate

PROCESS = Discrete("scaled_linear")
SHAPE, SEEDS = (8, 8, 1), range(4)
LIMIT, END = 1e-4, 1 / PROCESS.count
LAST = {"final_sigmas_type": "sigma_min"}  # ends at its cleanest level, our time 1/N
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def weights():
    """Two convolutions and what a time adds between them; noise itself goes past them, for images of ordinary size."""
    random = np.random.default_rng(0)
    into, out, time = random.normal(size=(3, 3, 1, 8)), random.normal(size=(3, 3, 8, 1)), random.normal(size=8)
    return [a.astype(np.float32) for a in (into / 3, out / 50, time)]


def in_jax(params, x, t, d, cond, key):
    into, out, time = params
    layout = ("NHWC", "HWIO", "NHWC")
    hidden = jax.lax.conv_general_dilated(x, into, (1, 1), "SAME", dimension_numbers=layout) + time * jnp.asarray(t)
    change = jax.lax.conv_general_dilated(jax.nn.silu(hidden), out, (1, 1), "SAME", dimension_numbers=layout)
    return jnp.sqrt(jnp.abs(t)) * x + change


def in_torch(params, x, t):
    into, out, time = map(torch.from_numpy, params)
    hidden = torch.nn.functional.conv2d(x, into.permute(3, 2, 0, 1), padding=1) + (time * t)[:, None, None]
    change = torch.nn.functional.conv2d(torch.nn.functional.silu(hidden), out.permute(3, 2, 0, 1), padding=1)
    return np.sqrt(abs(t)) * x + change


def normal(row):
    """The noise of `draw`: row 0 is the start, row i + 1 that after call i; as torch lays images out."""
    keys = [jax.random.fold_in(jax.random.key(seed), row) for seed in SEEDS]
    noise = np.stack([np.asarray(jax.random.normal(key, SHAPE)) for key in keys])
    return torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())


def drawn(den, times, ours, **options):
    return np.asarray(draw(den, tabulate(SAMPLERS[ours](den.process, times, **options)), SEEDS, SHAPE))


def stepped(scheduler, params, x, scaled=False, clock=lambda n: (n + 1) / PROCESS.count):
    """The scheduler's own loop from x; clock(timestep) is what the network is told."""
    module = sys.modules[type(scheduler).__module__]
    for row, n in enumerate(scheduler.timesteps, 1):
        state = scheduler.scale_model_input(x, n) if scaled else x
        with mock.patch.object(module, "randn_tensor", create=True, return_value=normal(row)):
            x = scheduler.step(in_torch(params, state, np.float32(clock(n))), n, x).prev_sample
    assert x.dtype == torch.float32
    return x.numpy().transpose(0, 2, 3, 1)


def levels(scheduler):
    """Its sigmas, each once."""
    return np.array(list(dict.fromkeys(scheduler.sigmas.double().tolist())))


def same(images, theirs):
    assert 0.1 < images.std() < 10
    np.testing.assert_allclose(images, theirs, rtol=0, atol=LIMIT)


@pytest.mark.parametrize(
    ("peer", "config", "ours", "end", "options"),
    [
        ("DDIM", {"clip_sample": False}, "ddim", 0.0, {}),
        ("DDPM", {"clip_sample": False}, "ddpm", 0.0, {}),
        ("DPMSolverMultistep", {}, "dpmpp_2m", 0.0, {}),
        ("DPMSolverMultistep", {"solver_order": 3}, "dpmpp_3m", 0.0, {"kappa": 1.0}),
        ("DPMSolverSinglestep", {"solver_order": 3, "solver_type": "heun", "lower_order_final": True, **LAST},
         "dpm_fast", END, {"form": "data", "taylor": True}),
        ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde", 0.0, {}),
        ("UniPCMultistep", {}, "unipc", 0.0, {}),
        ("DEISMultistep", {}, "exponential_ab", END, {"points": 2, "form": "noise"}),
        ("DEISMultistep", {}, "deis", END, {"points": 2, "basis": "lambda"}),
        ("SASolver", {"tau_func": lambda t: 1.0}, "sa_solver", END,
         {"predictor": 2, "corrector": 2, "tau": 1.0, "few_steps": False, "slope": "published", "lower_final": True}),
    ],
)  # fmt: skip
def test_draw(peer, config, ours, end, options):
    scheduler = getattr(diffusers, f"{peer}Scheduler")(**STABLE, **config)
    scheduler.set_timesteps(10)
    times = [(n + 1) / PROCESS.count for n in scheduler.timesteps.tolist()]
    params = weights()
    images = drawn(Denoiser.from_function(in_jax, params, PROCESS, EPS), [*times, end], ours, **options)
    theirs = stepped(scheduler, params, float(PROCESS.sigma(times[0])) * normal(0))
    same(images, theirs)


@pytest.mark.parametrize(("skip", "ours"), [(True, "plms"), (False, "pndm")])
def test_draw_pndm(skip, ours):
    """Each of our steps begins at one of its timesteps, whatever it calls in between."""
    scheduler = diffusers.PNDMScheduler(**STABLE, skip_prk_steps=skip, steps_offset=1)
    scheduler.set_timesteps(10)
    params, times = weights(), [*((n + 2) / PROCESS.count for n in range(900, -1, -100)), END]
    images = drawn(Denoiser.from_function(in_jax, params, PROCESS, EPS), times, ours)
    same(images, stepped(scheduler, params, float(PROCESS.sigma(times[0])) * normal(0)))


@pytest.mark.parametrize(
    ("peer", "ours", "options"),
    [
        ("EulerDiscrete", "euler", {}),
        ("HeunDiscrete", "heun", {}),
        ("EulerAncestralDiscrete", "euler_ancestral", {}),
        ("LMSDiscrete", "lms", {"denoise": False}),
    ],
)
def test_draw_on_noise_levels(peer, ours, options):
    """The network of one process, drawn on x0 + sigma eps: what scale_model_input is to schedulers."""
    scheduler = getattr(diffusers, f"{peer}Scheduler")(**STABLE, timestep_spacing="leading")
    scheduler.set_timesteps(10)
    params, process = weights(), VE()
    sigmas = levels(scheduler)
    den = Denoiser.from_function(in_jax, params, PROCESS, EPS).under(process)
    images = drawn(den, sigmas / process.sigma_max, ours, **options)
    same(images, stepped(scheduler, params, sigmas[0] * normal(0), scaled=True))


@pytest.mark.parametrize(("peer", "ours"), [("EDMEuler", "euler"), ("EDMDPMSolverMultistep", "dpmpp_2m")])
def test_draw_edm(peer, ours):
    """A network with EDM's preconditioning, which is told log(sigma) / 4."""
    scheduler = getattr(diffusers, f"{peer}Scheduler")()
    scheduler.set_timesteps(10)
    params, process, sigmas = weights(), VE(), levels(scheduler)
    images = drawn(Denoiser.from_function(in_jax, params, process, edm()), sigmas / process.sigma_max, ours)
    same(images, stepped(scheduler, params, sigmas[0] * normal(0), scaled=True, clock=float))
