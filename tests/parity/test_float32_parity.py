"""`draw` itself, in float32: a network with the same weights, the same noise and timesteps in JAX and in torch."""

import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import STABLE, diffusers, torch

from diffusion import EPS, VE, Denoiser, Discrete
from samplers import SAMPLERS, draw, tabulate

PROCESS = Discrete("scaled_linear")
SHAPE, SEEDS = (8, 8, 1), range(4)
LIMIT = 1e-4
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
    return jnp.sqrt(t) * x + change


def in_torch(params, x, t):
    into, out, time = map(torch.from_numpy, params)
    hidden = torch.nn.functional.conv2d(x, into.permute(3, 2, 0, 1), padding=1) + (time * t)[:, None, None]
    change = torch.nn.functional.conv2d(torch.nn.functional.silu(hidden), out.permute(3, 2, 0, 1), padding=1)
    return np.sqrt(t) * x + change


def normal(row):
    """The noise of `draw`: row 0 is the start, row i + 1 that after call i; as torch lays images out."""
    keys = [jax.random.fold_in(jax.random.key(seed), row) for seed in SEEDS]
    noise = np.stack([np.asarray(jax.random.normal(key, SHAPE)) for key in keys])
    return torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())


def drawn(den, times, ours, **options):
    return np.asarray(draw(den, tabulate(SAMPLERS[ours](den.process, times, **options)), SEEDS, SHAPE))


def stepped(scheduler, params, x, scaled=False):
    """The scheduler's own loop, as torch lays images out."""
    module = sys.modules[type(scheduler).__module__]
    for row, n in enumerate(scheduler.timesteps, 1):
        state = scheduler.scale_model_input(x, n) if scaled else x
        with mock.patch.object(module, "randn_tensor", create=True, return_value=normal(row)):
            x = scheduler.step(in_torch(params, state, np.float32((n + 1) / PROCESS.count)), n, x).prev_sample
    assert x.dtype == torch.float32
    return x.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("peer", "config", "ours", "end", "options"),
    [
        ("DDIM", {"clip_sample": False}, "ddim", 0.0, {}),
        ("DDPM", {"clip_sample": False}, "ddpm", 0.0, {}),
        ("DPMSolverMultistep", {}, "dpmpp_2m", 0.0, {}),
        ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde", 0.0, {}),
        ("UniPCMultistep", {}, "unipc", 0.0, {}),
        ("DEISMultistep", {}, "exponential_ab", 0.001, {"points": 2, "form": "noise"}),
    ],
)
def test_draw(peer, config, ours, end, options):
    scheduler = getattr(diffusers, f"{peer}Scheduler")(**STABLE, **config)
    scheduler.set_timesteps(10)
    times = [(n + 1) / PROCESS.count for n in scheduler.timesteps.tolist()]
    params = weights()
    images = drawn(Denoiser.from_function(in_jax, params, PROCESS, EPS), [*times, end], ours, **options)
    theirs = stepped(scheduler, params, float(PROCESS.sigma(times[0])) * normal(0))
    assert 0.1 < images.std() < 10
    np.testing.assert_allclose(images, theirs, rtol=0, atol=LIMIT)


@pytest.mark.parametrize(
    ("peer", "ours"),
    [("EulerDiscrete", "euler"), ("HeunDiscrete", "heun"), ("EulerAncestralDiscrete", "euler_ancestral")],
)
def test_draw_on_noise_levels(peer, ours):
    """The network of one process, drawn on x0 + sigma eps: what scale_model_input is to schedulers."""
    scheduler = getattr(diffusers, f"{peer}Scheduler")(**STABLE, timestep_spacing="leading")
    scheduler.set_timesteps(10)
    params, process = weights(), VE()
    sigmas = list(dict.fromkeys(scheduler.sigmas.double().tolist()))
    den = Denoiser.from_function(in_jax, params, PROCESS, EPS).under(process)
    images = drawn(den, np.array(sigmas) / process.sigma_max, ours)
    theirs = stepped(scheduler, params, sigmas[0] * normal(0), scaled=True)
    assert 0.1 < images.std() < 10
    np.testing.assert_allclose(images, theirs, rtol=0, atol=LIMIT)
