from . import cli, diffusion, evaluation, samplers, train
from .cli.config.open_run import open_run
from .diffusion import VE, VP, Cond, Cosine, Linear, Shifted, cfg, clip_x0, levers, oracles
from .samplers import GRIDS, SAMPLERS, draw, draw_many, table_at, tabulate

__all__ = [
    "GRIDS",
    "SAMPLERS",
    "VE",
    "VP",
    "Cond",
    "Cosine",
    "Linear",
    "Shifted",
    "cfg",
    "cli",
    "clip_x0",
    "diffusion",
    "draw",
    "draw_many",
    "evaluation",
    "levers",
    "open_run",
    "oracles",
    "samplers",
    "table_at",
    "tabulate",
    "train",
]
