"""Samplers as tables of coefficients, and the one loop that runs them."""

from fewstep.samplers.adams import deis, ipndm, ipndm_v, lms, plms, pndm
from fewstep.samplers.analytic import analytic_ddim, analytic_ddpm, optimal_variance
from fewstep.samplers.ancestral import ddpm, dpm2, dpm2_ancestral, dpmpp_2s_ancestral, euler_ancestral
from fewstep.samplers.churn import edm
from fewstep.samplers.ddim import ddim
from fewstep.samplers.er_sde import er_sde
from fewstep.samplers.euler import euler, euler_maruyama, heun
from fewstep.samplers.exponential import dpmpp_2m, dpmpp_3m, exponential_ab
from fewstep.samplers.first_step import analytical_first_step
from fewstep.samplers.grids import (
    GRIDS,
    arctan,
    ays,
    beta,
    bong_tangent,
    karras,
    log_snr,
    polyexponential,
    quadratic,
    shifted,
    uniform,
)
from fewstep.samplers.index_grids import leading, linspace, quadratic_ddim, trailing
from fewstep.samplers.interpolant import interpolant_sde
from fewstep.samplers.langevin import langevin
from fewstep.samplers.loop import draw, draw_many
from fewstep.samplers.registry import SAMPLERS, default_nfe, default_sampler, preview_table, supports, table_at
from fewstep.samplers.res import res_2s, res_3s
from fewstep.samplers.restart import restart
from fewstep.samplers.runge_kutta import rho_rk2, rho_rk3, rho_rk4
from fewstep.samplers.sa_solver import sa_solver
from fewstep.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, sde_dpmpp_1
from fewstep.samplers.singlestep import dpm_fast, dpm_solver_2, dpm_solver_3, dpmpp_2s, dpmpp_3s
from fewstep.samplers.tableau import Row, Tableau, reduced, tabulate
from fewstep.samplers.unipc import unipc

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
    "bong_tangent",
    "ddim",
    "ddpm",
    "default_nfe",
    "default_sampler",
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
    "preview_table",
    "quadratic",
    "quadratic_ddim",
    "reduced",
    "res_2s",
    "res_3s",
    "restart",
    "rho_rk2",
    "rho_rk3",
    "rho_rk4",
    "sa_solver",
    "sde_dpmpp_1",
    "shifted",
    "supports",
    "table_at",
    "tabulate",
    "trailing",
    "uniform",
    "unipc",
]
