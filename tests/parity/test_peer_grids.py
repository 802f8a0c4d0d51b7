"""The step grids of diffusers (those of k-diffusion: test_k_diffusion.py)."""

import numpy as np
import pytest
from peers import STABLE, Scheduler, diffusers, doubled

from fewstep.diffusion import VE, Discrete, Linear
from fewstep.samplers import GRIDS
from fewstep.samplers.grids import AYS

PROCESS = Discrete("scaled_linear")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("steps", [7, 10, 50])
@pytest.mark.parametrize("ours", ["leading", "trailing", "linspace"])
def test_indices(ours, steps):
    """Those of DDIM: other schedulers of diffusers lay `linspace` and `leading` out for one step more, and drop it.
    Where N / K is not whole, diffusers rounds a sum of floats.
    """
    peer = Scheduler("DDIM", steps, timestep_spacing=ours)
    np.testing.assert_array_equal(peer.indices(PROCESS), GRIDS[ours](PROCESS, steps))


@pytest.mark.parametrize(("ours", "theirs"), [("karras", "use_karras_sigmas"), ("log_snr", "use_exponential_sigmas")])
def test_levels(ours, theirs):
    levels = Scheduler("DPMSolverMultistep", 10, **STABLE, **{theirs: True}).levels
    times = GRIDS[ours](PROCESS, 10)[:-1]
    np.testing.assert_allclose(PROCESS.sigma(times) / PROCESS.alpha(times), levels[:-1], rtol=1e-9)


def test_beta_in_the_domain_of_sigma():
    """diffusers takes the quantiles of the range of sigma; the paper's are of the timesteps, our default."""
    levels = Scheduler("DPMSolverMultistep", 10, **STABLE, use_beta_sigmas=True).levels
    times = GRIDS["beta"](PROCESS, 10, domain="sigma")[:-1]
    np.testing.assert_allclose(PROCESS.sigma(times) / PROCESS.alpha(times), levels[:-1], rtol=1e-9)


def test_edm():
    np.testing.assert_allclose(GRIDS["karras"](VE(), 18) * VE().sigma_max, Scheduler("EDMEuler", 18).levels, rtol=1e-12)


def test_shift_of_flux():
    peer = Scheduler("FlowMatchEulerDiscrete", 10, shift=1.0)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    with doubled(peer.module, peer.tape):
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 10, 10), mu=0.8)
    np.testing.assert_allclose(GRIDS["shifted"](Linear(), 10, mu=0.8), scheduler.sigmas.numpy(), rtol=1e-12, atol=1e-15)


def test_align_your_steps():
    published = diffusers.schedulers.AysSchedules
    for ours, theirs in (("sd15", "StableDiffusion"), ("sdxl", "StableDiffusionXL"), ("svd", "StableDiffusionVideo")):
        assert [*AYS[ours][:-1], 0.0] == published[f"{theirs}Sigmas"]
