"""The command that an import of a pipeline prints runs, for every scheduler, and says what it leaves out."""

import shlex

import pytest
from diffusers_folders import UNET, changed, copied, scheduled
from one_line import refused

FEW = {"num_train_timesteps": 20}
SCHEDULERS = {
    "DDPMScheduler": FEW | {"variance_type": "fixed_large"},
    "DDIMScheduler": FEW | {"set_alpha_to_one": False, "timestep_spacing": "trailing"},
    "PNDMScheduler": {"num_train_timesteps": 100, "steps_offset": 1},
    "DPMSolverMultistepScheduler": FEW | {"solver_order": 3, "use_karras_sigmas": True},
    "UniPCMultistepScheduler": FEW | {"solver_type": "bh1", "final_sigmas_type": "sigma_min"},
    "EDMEulerScheduler": {"rho": 5},
    "EDMDPMSolverMultistepScheduler": {"solver_type": "heun", "thresholding": True},
    "CMStochasticIterativeScheduler": {},
}
DIFFERING = ("DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "DDIMScheduler")) for n in SCHEDULERS]
)
def test_the_printed_command_runs(name, fewstep, tmp_path):
    folder = scheduled(copied(tmp_path / "model"), name, **SCHEDULERS[name])
    status, _, err = fewstep("import", folder, "--run", tmp_path / "run")
    assert status == 0, err
    assert ("leaves out" in err) == (name in DIFFERING)
    words = shlex.split(err.strip().splitlines()[-1].partition("Next: fewstep ")[2])
    assert words[:2] == ["sample", str(tmp_path / "run")]
    status, _, err = fewstep(*words, "--count", "2", "--out", tmp_path / "images.png")
    assert status == 0, err
    assert (tmp_path / "images.png").stat().st_size > 100


def test_a_damaged_setting_is_one_line(fewstep, tmp_path):
    folder = changed(copied(tmp_path / "model"), UNET, {"layers_per_block": "a"})
    said = fewstep("import", folder, "--run", tmp_path / "run")
    refused(said, f'{folder / UNET} has layers_per_block "a": it is a whole number from 1 to 64')
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_there(fewstep, tmp_path):
    folder = copied(tmp_path / "model")
    refused(fewstep("import", folder, "--run", tmp_path / "run", "--weights", "fp16"), "'fp16'", "main")
