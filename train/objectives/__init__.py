"""Training objectives; their protocol is `objective.Objective`."""

from fewstep.train.objectives.consistency import DiscreteConsistency
from fewstep.train.objectives.continuous import ContinuousConsistency
from fewstep.train.objectives.denoising import Denoising, noisy, target
from fewstep.train.objectives.jumps import MeanFlow, Shortcut
from fewstep.train.objectives.objective import Example, Objective
from fewstep.train.objectives.reflow import ReFlow
from fewstep.train.objectives.variance import Hybrid, SecondMoment

# By name, as in a config.
OBJECTIVES = {
    "denoising": Denoising,
    "second_moment": SecondMoment,
    "hybrid": Hybrid,
    "discrete_consistency": DiscreteConsistency,
    "continuous_consistency": ContinuousConsistency,
    "meanflow": MeanFlow,
    "reflow": ReFlow,
    "shortcut": Shortcut,
}

__all__ = [
    "OBJECTIVES", "ContinuousConsistency", "Denoising", "DiscreteConsistency", "Example", "Hybrid", "MeanFlow",
    "Objective", "ReFlow", "SecondMoment", "Shortcut", "noisy", "target",
]  # fmt: skip
