"""The mathematics and the networks: processes, predictions, denoisers, levers, oracles."""

from fewstep.diffusion import levers, oracles
from fewstep.diffusion.denoiser import Cond, Denoiser, Model, Pred
from fewstep.diffusion.discrete import Discrete
from fewstep.diffusion.foreign import CM, Clocked, Transferred, indexed
from fewstep.diffusion.levers import LEVERS, cfg, clip_x0
from fewstep.diffusion.pfgm import PFGM
from fewstep.diffusion.prediction import EPS, SCORE, VELOCITY, X0, V, edm
from fewstep.diffusion.process import VE, VP, Cosine, Linear, Process
from fewstep.diffusion.shifted import Shifted

__all__ = [
    "CM",
    "EPS",
    "LEVERS",
    "PFGM",
    "SCORE",
    "VE",
    "VELOCITY",
    "VP",
    "X0",
    "Clocked",
    "Cond",
    "Cosine",
    "Denoiser",
    "Discrete",
    "Linear",
    "Model",
    "Pred",
    "Process",
    "Shifted",
    "Transferred",
    "V",
    "cfg",
    "clip_x0",
    "edm",
    "indexed",
    "levers",
    "oracles",
]
