"""The mathematics and the networks: processes, predictions, denoisers, levers, oracles."""

from diffusion import levers, oracles
from diffusion.denoiser import Cond, Denoiser, Model, Pred
from diffusion.discrete import Discrete
from diffusion.levers import LEVERS, cfg, clip_x0
from diffusion.prediction import EPS, SCORE, VELOCITY, X0, V, edm, indexed
from diffusion.process import VE, VP, Cosine, Linear, Process, Shifted

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
