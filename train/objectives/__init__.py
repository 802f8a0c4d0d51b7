"""What a network is trained to do, in two steps.

draw(model, batch, key) -> examples         all that is random, a leading batch axis in every field
(model, params, state, examples) -> (loss, metrics)     means over the examples
only                                the name of the part of the network that is trained, None for all of it
answers                             what the network learns to answer, as in `Model.capabilities`
second, pairs                       whether it trains a second output, and whether it learns from pairs
beside()                            what is trained beside the network, {group: parameters}
teacher                             whether the weights that training begins with stay beside, state.frozen["teacher"]

so that a large batch worked off in parts has the numbers of the whole.
"""

from fewstep.train.objectives.consistency import DiscreteConsistency
from fewstep.train.objectives.continuous import ContinuousConsistency
from fewstep.train.objectives.denoising import Denoising
from fewstep.train.objectives.jumps import MeanFlow, Shortcut
from fewstep.train.objectives.reflow import ReFlow
from fewstep.train.objectives.variance import Hybrid, SecondMoment

__all__ = [
    "ContinuousConsistency", "Denoising", "DiscreteConsistency", "Hybrid", "MeanFlow", "ReFlow", "SecondMoment",
    "Shortcut",
]  # fmt: skip
