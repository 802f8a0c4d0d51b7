"""fewstep: how good are the samples for how many network calls?

The front door: `import fewstep` gives what a notebook needs; the command line is `fewstep --help`.
"""

from diffusion import VE, VP, Cond, Cosine, Linear, Shifted, cfg, clip_x0, levers, oracles
from samplers import GRIDS, SAMPLERS, draw, draw_many, table_at, tabulate
from scripts.config import open_run

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
    "clip_x0",
    "draw",
    "draw_many",
    "levers",
    "open_run",
    "oracles",
    "table_at",
    "tabulate",
]
