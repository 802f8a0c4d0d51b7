"""The mathematics and the networks: processes, predictions, denoisers, levers, oracles."""

from fewstep.diffusion import levers, oracles
from fewstep.diffusion.denoiser import Cond, Denoiser, Model, Pred
from fewstep.diffusion.discrete import Discrete
from fewstep.diffusion.levers import LEVERS, cfg, clip_x0
from fewstep.diffusion.prediction import EPS, SCORE, VELOCITY, X0, V, edm, indexed
from fewstep.diffusion.process import VE, VP, Cosine, Linear, Process
from fewstep.diffusion.shifted import Shifted

__all__ = [
    "EPS",
    "LEVERS",
    "SCORE",
    "VE",
    "VELOCITY",
    "VP",
    "X0",
    "Cond",
    "Cosine",
    "Denoiser",
    "Discrete",
    "Linear",
    "Model",
    "Pred",
    "Process",
    "Shifted",
    "V",
    "cfg",
    "clip_x0",
    "edm",
    "indexed",
    "levers",
    "oracles",
]
