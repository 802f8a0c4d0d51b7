"""Training objectives; their protocol is `objective.Objective`."""

from fewstep.train.objectives.alpha_flow import AlphaFlow
from fewstep.train.objectives.consistency import DiscreteConsistency
from fewstep.train.objectives.continuous import ContinuousConsistency
from fewstep.train.objectives.ctm import CTM
from fewstep.train.objectives.denoising import Denoising, noisy, target
from fewstep.train.objectives.dmd import DMD
from fewstep.train.objectives.frechet import Frechet
from fewstep.train.objectives.imf import ImprovedMeanFlow
from fewstep.train.objectives.imm import IMM
from fewstep.train.objectives.meanflow import MeanFlow
from fewstep.train.objectives.objective import Example, Objective
from fewstep.train.objectives.progressive import Progressive
from fewstep.train.objectives.reflow import ReFlow
from fewstep.train.objectives.self_distillation import LSD, PSD
from fewstep.train.objectives.shortcut import Shortcut
from fewstep.train.objectives.sid import SiD
from fewstep.train.objectives.variance import Hybrid, SecondMoment

# By name, as in a config.
OBJECTIVES = {
    "denoising": Denoising,
    "second_moment": SecondMoment,
    "hybrid": Hybrid,
    "discrete_consistency": DiscreteConsistency,
    "continuous_consistency": ContinuousConsistency,
    "meanflow": MeanFlow,
    "imf": ImprovedMeanFlow,
    "alpha_flow": AlphaFlow,
    "lsd": LSD,
    "psd": PSD,
    "imm": IMM,
    "ctm": CTM,
    "progressive": Progressive,
    "reflow": ReFlow,
    "frechet": Frechet,
    "shortcut": Shortcut,
    "sid": SiD,
    "dmd": DMD,
}

__all__ = [
    "CTM", "DMD", "IMM", "LSD", "OBJECTIVES", "PSD", "AlphaFlow", "ContinuousConsistency", "Denoising",
    "DiscreteConsistency", "Example", "Frechet", "Hybrid", "ImprovedMeanFlow", "MeanFlow", "Objective", "Progressive",
    "ReFlow", "SecondMoment", "Shortcut", "SiD", "noisy", "target",
]  # fmt: skip
