"""Samplers as tables of numbers, and the one loop that runs them."""

from samplers.adams import deis, ipndm, ipndm_v, lms, plms, pndm
from samplers.analytic import analytic_ddim, analytic_ddpm, optimal_variance
from samplers.ancestral import ddpm, dpm2, dpm2_ancestral, dpmpp_2s_ancestral, euler_ancestral
from samplers.churn import edm
from samplers.ddim import ddim
from samplers.er_sde import er_sde
from samplers.euler import euler, euler_maruyama, heun
from samplers.exponential import dpmpp_2m, dpmpp_3m, exponential_ab
from samplers.first_step import analytical_first_step
from samplers.grids import GRIDS, arctan, ays, beta, karras, log_snr, polyexponential, quadratic, shifted, uniform
from samplers.index_grids import leading, linspace, quadratic_ddim, trailing
from samplers.interpolant import interpolant_sde
from samplers.langevin import langevin
from samplers.loop import draw, draw_many
from samplers.registry import SAMPLERS, serves, table_at, usual, usual_calls, watched
from samplers.restart import restart
from samplers.runge_kutta import rho_rk2, rho_rk3, rho_rk4
from samplers.sa_solver import sa_solver
from samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, sde_dpmpp_1
from samplers.singlestep import dpm_fast, dpm_solver_2, dpm_solver_3, dpmpp_2s, dpmpp_3s
from samplers.tableau import Row, Tableau, reduced, tabulate
from samplers.unipc import unipc

__all__ = [
    "GRIDS",
    "SAMPLERS",
    "Row",
    "Tableau",
    "analytic_ddim",
    "analytic_ddpm",
    "analytical_first_step",
    "arctan",
    "ays",
    "beta",
    "ddim",
    "ddpm",
    "deis",
    "dpm2",
    "dpm2_ancestral",
    "dpm_fast",
    "dpm_solver_2",
    "dpm_solver_3",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2s",
    "dpmpp_2s_ancestral",
    "dpmpp_3m",
    "dpmpp_3m_sde",
    "dpmpp_3s",
    "dpmpp_sde",
    "draw",
    "draw_many",
    "edm",
    "er_sde",
    "euler",
    "euler_ancestral",
    "euler_maruyama",
    "exponential_ab",
    "heun",
    "interpolant_sde",
    "ipndm",
    "ipndm_v",
    "karras",
    "langevin",
    "leading",
    "linspace",
    "lms",
    "log_snr",
    "optimal_variance",
    "plms",
    "pndm",
    "polyexponential",
    "quadratic",
    "quadratic_ddim",
    "reduced",
    "restart",
    "rho_rk2",
    "rho_rk3",
    "rho_rk4",
    "sa_solver",
    "sde_dpmpp_1",
    "serves",
    "shifted",
    "table_at",
    "tabulate",
    "trailing",
    "uniform",
    "unipc",
    "usual",
    "usual_calls",
    "watched",
]
