"""What a scheduler of Hugging Face diffusers says: how a model was trained.

The settings and their defaults are those of diffusers 0.42.1, schedulers/*.py, for each class.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.diffusion import EPS, VE, X0, Discrete, V, edm
from fewstep.diffusion.discrete import SCHEDULES
from fewstep.diffusion.foreign import CM, Clocked, Indexed
from fewstep.errors import UsageError
from fewstep.train.objectives import Denoising, DiscreteConsistency, Objective
from fewstep.train.utils.errors import Damaged
from fewstep.zoo.diffusers_files import INDEX
from fewstep.zoo.diffusers_settings import (
    FLAG,
    NULL,
    Kind,
    Setting,
    either,
    listed,
    number,
    one_of,
    read_config,
    settings,
    whole,
)

ON, OFF, ZERO = Setting(True, FLAG), Setting(False, FLAG), Setting(0, whole(0, 100_000))
POSITIVE, SHARE = number(above=0, most=1e6), number(above=0, most=1)
ENDS = Setting("zero", one_of("zero", "sigma_min"))
PREDICTIONS = {"epsilon": EPS, "sample": X0, "v_prediction": V}
CONSISTENCY = "CMStochasticIterativeScheduler"


def _spacing(default):
    return Setting(default, one_of("linspace", "leading", "trailing"))


BETAS = {
    "num_train_timesteps": Setting(1000, whole(2, 100_000)),
    "beta_start": Setting(1e-4, SHARE),
    "beta_end": Setting(0.02, SHARE),
    "beta_schedule": Setting("linear", one_of("linear", "scaled_linear", "squaredcos_cap_v2")),
    "trained_betas": Setting(None, either(NULL, listed(SHARE, 2, 100_000))),
    "prediction_type": Setting("epsilon", one_of(*PREDICTIONS)),
    "timestep_spacing": _spacing("leading"),
    "steps_offset": ZERO,
}
BOUNDS = {
    "thresholding": OFF,
    "dynamic_thresholding_ratio": Setting(0.995, SHARE),
    "sample_max_value": Setting(1.0, POSITIVE),
}
CLIP = {"clip_sample": ON, "clip_sample_range": Setting(1.0, POSITIVE), "rescale_betas_zero_snr": OFF}
SOLVER = {
    "solver_order": Setting(2, whole(1, 3)),
    "solver_type": Setting("midpoint", one_of("midpoint", "heun")),
    "lower_order_final": ON,
    "euler_at_final": OFF,
    "final_sigmas_type": ENDS,
}
SIGMAS = {
    "timestep_spacing": _spacing("linspace"),
    "rescale_betas_zero_snr": OFF,
    "use_karras_sigmas": Setting(False, either(FLAG, NULL)),
    "use_exponential_sigmas": Setting(False, either(FLAG, NULL)),
    "use_beta_sigmas": Setting(False, either(FLAG, NULL)),
    "use_flow_sigmas": Setting(False, one_of(False, None)),
}
LEVELS = {
    "sigma_min": Setting(0.002, POSITIVE),
    "sigma_max": Setting(80.0, POSITIVE),
    "sigma_data": Setting(0.5, POSITIVE),
    "rho": Setting(7.0, POSITIVE),
}
EDM = LEVELS | {
    "sigma_schedule": Setting("karras", one_of("karras", "exponential")),
    "prediction_type": Setting("epsilon", one_of("epsilon")),
    "final_sigmas_type": ENDS,
}
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range")
ALGORITHMS = ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver")
TABLES = {
    "DDPMScheduler": BETAS | BOUNDS | CLIP | {"variance_type": Setting("fixed_small", one_of(*VARIANCES))},
    "DDIMScheduler": BETAS | BOUNDS | CLIP | {"set_alpha_to_one": ON},
    "PNDMScheduler": BETAS | {"skip_prk_steps": OFF, "set_alpha_to_one": OFF},
    "DPMSolverMultistepScheduler": BETAS | BOUNDS | SOLVER | SIGMAS | {
        "algorithm_type": Setting("dpmsolver++", one_of(*ALGORITHMS)),
        "use_lu_lambdas": Setting(False, either(FLAG, NULL)),
        "lambda_min_clipped": Setting(-np.inf, Kind("a number", lambda value: isinstance(value, int | float))),
    },
    "UniPCMultistepScheduler": BETAS | BOUNDS | SIGMAS | {
        "solver_order": Setting(2, whole(1, 3)),
        "solver_type": Setting("bh2", one_of("bh2", "bh1", "midpoint", "heun", "logrho")),
        "predict_x0": ON,
        "lower_order_final": ON,
        "disable_corrector": Setting([], listed(whole(0, 100_000), 0, 100_000)),
        "final_sigmas_type": ENDS,
    },
    "EDMEulerScheduler": EDM,
    "EDMDPMSolverMultistepScheduler": EDM | BOUNDS | SOLVER | {
        "algorithm_type": Setting("dpmsolver++", one_of("dpmsolver++", "sde-dpmsolver++")),
    },
    CONSISTENCY: LEVELS | {"s_noise": Setting(1.0, number()), "clip_denoised": ON},
}  # fmt: skip


def read_scheduler(path: Path, pipeline: Path) -> dict[str, Any]:
    """The settings that the file says or its class has by default, with `scheduler`, the class.

    pipeline: the folder whose index says the class where the file does not.  UsageError for a class of another kind.
    """
    said = read_config(path)
    name = said.get("_class_name", _class_in_index(pipeline))
    if not isinstance(name, str) or name not in TABLES:
        raise UsageError(f"{path} is of {name or 'no class'}: {', '.join(TABLES)} are opened")
    if said.get("predict_epsilon") is False:  # before diffusers 0.10
        said = {"prediction_type": "sample"} | said
    return settings(path, said, TABLES[name]) | {"scheduler": name}


def _class_in_index(pipeline):
    listed = read_config(pipeline / INDEX).get("scheduler") if (pipeline / INDEX).is_file() else None
    return listed[1] if isinstance(listed, list) and len(listed) == 2 else None


def trained(known: Mapping[str, Any], path: Path) -> tuple[Any, Any, Objective]:
    """The process, the prediction and what was learned, as the settings of the file say."""
    try:
        if "num_train_timesteps" in known:
            return Discrete(*_betas(known, path)), Indexed(PREDICTIONS[known["prediction_type"]]), Denoising()
        process = VE(known["sigma_min"], known["sigma_max"])
        if known["scheduler"] == CONSISTENCY:
            form = CM(known["sigma_data"], process.sigma_min)
            return process, Clocked(form, of="log_noise", scale=250.0), DiscreteConsistency()
        return process, edm(known["sigma_data"]), Denoising()
    except Damaged:
        raise
    except UsageError as error:  # of our process
        raise UsageError(f"{path}: {error}") from None


def _betas(known, path):
    """The arguments of Discrete."""
    steps, kind, zero_snr = known["num_train_timesteps"], known["beta_schedule"], "rescale_betas_zero_snr"
    first, last = known["beta_start"], known["beta_end"]
    if known["trained_betas"] is not None:
        betas = np.asarray(known["trained_betas"], np.float64)
        if len(betas) != steps:
            raise Damaged(path, f"has {len(betas)} trained_betas, and num_train_timesteps {steps}")
    elif kind == "squaredcos_cap_v2":
        return "cosine", steps, known.get(zero_snr, False)
    elif kind == "linear":
        betas = np.linspace(first, last, steps)
    else:
        betas = np.linspace(first**0.5, last**0.5, steps) ** 2
    if kind in SCHEDULES and np.allclose(betas, SCHEDULES[kind](steps), rtol=1e-9, atol=0):
        return kind, steps, known.get(zero_snr, False)
    return tuple(betas.tolist()), None, known.get(zero_snr, False)
