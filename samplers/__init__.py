"""Samplers as tables of numbers, and the one loop that runs them."""

from samplers.ancestral import ddpm
from samplers.ddim import ddim
from samplers.euler import euler, euler_maruyama, heun
from samplers.exponential import dpmpp_2m
from samplers.grids import GRIDS, karras, log_snr, quadratic, uniform
from samplers.loop import draw, draw_many
from samplers.registry import SAMPLERS, table_at
from samplers.tableau import Row, Tableau, reduced, tabulate

__all__ = [
    "GRIDS",
    "SAMPLERS",
    "Row",
    "Tableau",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "draw",
    "draw_many",
    "euler",
    "euler_maruyama",
    "heun",
    "karras",
    "log_snr",
    "quadratic",
    "reduced",
    "table_at",
    "tabulate",
    "uniform",
]
