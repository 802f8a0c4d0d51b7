from . import cli, diffusion, errors, evaluation, samplers, train
from .cli.config.open_run import open_run
from .diffusion import (
    EPS,
    SCORE,
    VE,
    VELOCITY,
    VP,
    X0,
    Cond,
    Cosine,
    Denoiser,
    Discrete,
    Linear,
    Pred,
    Shifted,
    V,
    cfg,
    clip_x0,
    edm,
    levers,
    oracles,
)
from .diffusion.adapters import as_denoiser
from .diffusion.networks import MLP, DiT, UNet
from .errors import UsageError
from .evaluation.images import distances
from .front_door import compare, fit, import_run, train_run
from .samplers import GRIDS, SAMPLERS, Row, Tableau, draw, draw_many, table_at, tabulate
from .samplers.registry import Sampler
from .samplers.steps import steps
from .train import objectives
from .train.data import Dataset
from .train.objectives import Objective
from .train.run import Run

__all__ = [
    "EPS", "GRIDS", "MLP", "SAMPLERS", "SCORE", "VE", "VELOCITY", "VP", "X0", "Cond", "Cosine", "Dataset", "Denoiser",
    "DiT", "Discrete", "Linear", "Objective", "Pred", "Row", "Run", "Sampler", "Shifted", "Tableau", "UNet",
    "UsageError", "V", "as_denoiser", "cfg", "cli", "clip_x0", "compare", "diffusion", "distances", "draw",
    "draw_many", "edm", "errors", "evaluation", "fit", "import_run", "levers", "objectives", "open_run",
    "oracles", "samplers", "steps", "table_at", "tabulate", "train", "train_run",
]  # fmt: skip
