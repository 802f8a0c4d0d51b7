"""The words of `fewstep sample` that do what a scheduler of Hugging Face diffusers does, and what they do differently.

The facts are those of diffusers 0.42.1, schedulers/*.py; tests/parity/test_diffusers.py compares the samplers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fewstep.zoo.diffusers_scheduler import CONSISTENCY

STEPS = 50  # the default of DDIMPipeline, PNDMPipeline and DiTPipeline
KEPT = (
    "timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range", "thresholding", "variance_type",
    "prediction_type", "set_alpha_to_one", "skip_prk_steps", "solver_order", "solver_type", "algorithm_type",
    "final_sigmas_type", "sigma_min", "sigma_max", "rho", "sigma_schedule", "s_noise", "clip_denoised", "scheduler",
)  # fmt: skip


@dataclass
class Words:
    """What is written so far.  settings: of the sampler and the grid, by name; lacks: what has no words."""

    sampler: str
    nfe: int
    grid: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    levers: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = [f"--sampler {self.sampler} --nfe {self.nfe}", *([f"--grid {self.grid}"] if self.grid else [])]
        for name, value in self.settings.items():
            words.append(f'--set "{name}={value!r}"' if isinstance(value, str) else f"--set {name}={value!r}")
        return " ".join([*words, *(f'--lever "{lever}"' for lever in self.levers)])

    def set(self, name: str, value: Any, default: Any) -> None:
        """A setting of the sampler, unless it has this value by default."""
        if value != default:
            self.settings[f"{self.sampler}.{name}"] = value


def sampled(known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the authors that matter for sampling, in their words."""
    return {key: known[key] for key in KEPT if key in known}


def options(known: Mapping[str, Any], variance: bool) -> tuple[str, str]:
    """The words, and what they do not reproduce, "" for nothing; variance: the network predicts one."""
    words = WRITERS[known["scheduler"]](known, variance)
    return str(words), "; ".join(words.lacks)


def _ddpm(known, variance):
    steps = known["num_train_timesteps"]
    words = Words("ddpm", steps, known["timestep_spacing"])
    kind = known["variance_type"]
    if kind == "learned_range" and variance:
        words.set("variance", "range", "small")
    elif kind.startswith("fixed_large"):
        words.set("variance", "large", "small")
    if kind in ("learned", "fixed_large_log") or (kind == "learned_range" and not variance):
        words.lacks.append(f"variance_type {kind}")
    if known["steps_offset"]:
        words.lacks.append(f"steps_offset {known['steps_offset']}, as all {steps} noise levels are taken")
    _bound(words, known, "")
    return words


def _ddim(known, variance):
    steps = min(STEPS, known["num_train_timesteps"])
    words = Words("ddim", steps, known["timestep_spacing"])
    _indices(words, known, steps)
    _bound(words, known, "rebuild=False")  # DDIM keeps eps
    return words


def _pndm(known, variance):
    steps = min(STEPS, known["num_train_timesteps"])
    name, more = ("plms", 1) if known["skip_prk_steps"] else ("pndm", 9)  # three steps of four calls
    words = Words(name, steps + more, known["timestep_spacing"])
    _indices(words, known, steps)
    if known["set_alpha_to_one"]:
        words.lacks.append("the last step, which is of one prediction here, as it ends in the clean image")
    return words


def _indices(words, known, steps):
    """The grid of DDIM and PNDM, and where it ends."""
    count, grid, offset = known["num_train_timesteps"], known["timestep_spacing"], known["steps_offset"]
    last = {"leading": offset, "trailing": round(count / steps) - 1, "linspace": 0}[grid]
    if grid == "leading" and offset:
        if (steps - 1) * (count // steps) + offset < count:
            words.settings["leading.offset"] = offset
        else:
            words.lacks.append(f"steps_offset {offset}, with which {steps} steps leave the {count} noise levels")
            last = 0
    if grid == "linspace":
        words.lacks.append(f"timestep_spacing linspace as {known['scheduler']} takes it, by steps of {count // steps}")
    if not known["set_alpha_to_one"]:
        if last > 0:
            words.settings[f"{grid}.end"] = 1 / count
        else:
            words.lacks.append("set_alpha_to_one False: this command ends in the clean image")


def _bound(words, known, keeps):
    """Clipping of the clean image."""
    if known["thresholding"]:
        if known["sample_max_value"] == 1:  # the threshold is then always 1
            words.levers.append(f"clip_x0({keeps})")
            return
        words.levers.append(f"dynamic_threshold({known['dynamic_thresholding_ratio']})")
        words.lacks.append(
            f"thresholding with sample_max_value {known['sample_max_value']}{', and eps kept' * bool(keeps)}"
        )
    elif known.get("clip_sample"):
        bound = known["clip_sample_range"]
        ends = "" if bound == 1 else f"{-bound}, {bound}"
        words.levers.append(f"clip_x0({', '.join(filter(None, (ends, keeps)))})")


def _dpm_solver(known, variance):
    order, heun = known["solver_order"], known["solver_type"] == "heun"
    form, noisy = known["algorithm_type"].removeprefix("sde-"), known["algorithm_type"].startswith("sde-")
    exact = (form == "dpmsolver++" and (order < 3 or not noisy)) or (form == "dpmsolver" and not noisy and heun)
    if noisy:
        words = Words(("sde_dpmpp_1", "dpmpp_2m_sde", "dpmpp_3m_sde")[order - 1], STEPS)
        if order == 2:
            words.set("solver", known["solver_type"], "midpoint")
    elif order == 1:
        words, exact = Words("ddim", STEPS), True
    elif form == "dpmsolver" or (heun and order == 2):
        words = Words("exponential_ab", STEPS)
        words.set("points", order, 3)
        words.set("form", "noise" if form == "dpmsolver" else "data", "data")
    else:
        words = Words("dpmpp_3m" if order == 3 else "dpmpp_2m", STEPS)
        words.set("kappa", 1.0, 1.0 if order == 2 else 2.0)
    if not exact:
        words.lacks.append(f"algorithm_type {known['algorithm_type']} of order {order} and type {known['solver_type']}")
    if order > 1 and not noisy:
        words.set("lower_final", None if known["lower_order_final"] else False, None)
    _bound(words, known, "")
    return words


def _dpm(known, variance):
    words = _dpm_solver(known, variance)
    words.nfe = min(STEPS, known["num_train_timesteps"] - 1)
    if known["lambda_min_clipped"] > -1e300:
        words.lacks.append(f"lambda_min_clipped {known['lambda_min_clipped']}")
    _sigmas(words, known)
    return words


def _unipc(known, variance):
    words = Words("unipc", min(STEPS, known["num_train_timesteps"] - 1))
    words.set("order", known["solver_order"], 2)
    words.set("b", "bh1" if known["solver_type"] == "bh1" else "bh2", "bh2")
    words.set("form", "data" if known["predict_x0"] else "noise", "data")
    words.set("lower_final", known["lower_order_final"], None)
    if known["disable_corrector"]:
        words.lacks.append("disable_corrector")
    if known["predict_x0"]:
        _bound(words, known, "")
    _sigmas(words, known)
    return words


def _sigmas(words, known):
    """The grid of DPM-Solver and UniPC."""
    count, grid = known["num_train_timesteps"], known["timestep_spacing"]
    levels = {"use_karras_sigmas": "karras", "use_exponential_sigmas": "log_snr", "use_lu_lambdas": "log_snr",
              "use_beta_sigmas": "beta"}  # fmt: skip
    chosen = next((key for key in levels if known.get(key)), None)
    words.grid = levels[chosen] if chosen else grid
    if chosen == "use_beta_sigmas":
        words.settings["beta.domain"] = "sigma"
    if chosen:
        words.lacks.append(f"{chosen} with the time steps rounded to whole numbers")
    elif grid != "trailing":
        words.lacks.append(f"timestep_spacing {grid} of one step more, without its last time step")
    if known["final_sigmas_type"] == "sigma_min":
        if words.grid == "trailing" and round(count / words.nfe) > 1:
            words.settings["trailing.end"] = 1 / count
        else:
            words.lacks.append("final_sigmas_type sigma_min: this command ends in the clean image")


def _edm(known, variance):
    words = Words("euler", STEPS) if known["scheduler"] == "EDMEulerScheduler" else _dpm_solver(known, variance)
    words.grid = "karras" if known["sigma_schedule"] == "karras" else "log_snr"
    if words.grid == "karras" and known["rho"] != 7:
        words.settings["karras.rho"] = known["rho"]
    if known["final_sigmas_type"] == "sigma_min":
        words.lacks.append("final_sigmas_type sigma_min: this command ends in the clean image")
    return words


def _consistency(known, variance):
    words = Words("consistency", 1)
    if known["clip_denoised"]:
        words.levers.append("clip_x0()")
    return words


WRITERS: dict[str, Callable[..., Words]] = {
    "DDPMScheduler": _ddpm,
    "DDIMScheduler": _ddim,
    "PNDMScheduler": _pndm,
    "DPMSolverMultistepScheduler": _dpm,
    "UniPCMultistepScheduler": _unipc,
    "EDMEulerScheduler": _edm,
    "EDMDPMSolverMultistepScheduler": _edm,
    CONSISTENCY: _consistency,
}
