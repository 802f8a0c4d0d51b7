"""The registry of samplers, and tables for a budget of network calls."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from fewstep.diffusion.denoiser import INSTANT, DenoiserLike, Lever
from fewstep.diffusion.naming import name_of
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError, lookup
from fewstep.samplers.adams import deis, ipndm, ipndm_v, lms, plms, pndm
from fewstep.samplers.analytic import analytic_ddim, analytic_ddpm
from fewstep.samplers.ancestral import ddpm, dpm2, dpm2_ancestral, dpmpp_2s_ancestral, euler_ancestral
from fewstep.samplers.checks import check_noise
from fewstep.samplers.churn import edm
from fewstep.samplers.ddim import ddim
from fewstep.samplers.dpm_solver_v3 import dpm_solver_v3
from fewstep.samplers.er_sde import er_sde
from fewstep.samplers.euler import euler, euler_maruyama, heun
from fewstep.samplers.exponential import dpmpp_2m, dpmpp_3m, exponential_ab
from fewstep.samplers.flow_map import consistency, flow_map, gamma
from fewstep.samplers.grids import GRIDS
from fewstep.samplers.interpolant import interpolant_sde
from fewstep.samplers.langevin import langevin
from fewstep.samplers.res import res_2s, res_3s
from fewstep.samplers.restart import restart
from fewstep.samplers.runge_kutta import rho_rk2, rho_rk3, rho_rk4
from fewstep.samplers.sa_solver import sa_solver
from fewstep.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, sde_dpmpp_1
from fewstep.samplers.singlestep import dpm_fast, dpm_solver_2, dpm_solver_3, dpmpp_2s, dpmpp_3s
from fewstep.samplers.splice import splice
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Row, Tableau, tabulate
from fewstep.samplers.unipc import unipc

FITTED = "fitted"  # the grid of tables that have times of their own


@dataclass(frozen=True)
class Sampler:
    """A sampler and its properties.  Called like the function itself: (process, grid, **options) -> rows."""

    rows: Callable[..., Iterable[Row]]
    order: int | None  # of convergence; the weak order for stochastic samplers; None: no discretization error
    grid: str  # the default grid, or FITTED
    paper: str
    calls: int = 1  # network calls per step (a step to sigma = 0 takes 1)
    stochastic: bool = False
    needs: frozenset[str] = frozenset()  # a subset of {"var", "ems", "jump", "zero"}
    nfe: int | None = None  # the only number of network calls, of a fitted table
    title: str = ""  # its name, if it is not that of the function
    parts: tuple["Sampler", ...] = ()  # of a splice
    levers: tuple[Lever, ...] = ()  # that its rows are for, outside those of the model

    @property
    def name(self) -> str:
        return self.title or name_of(self.rows)

    @property
    def names(self) -> frozenset[str]:
        """Those whose options have an effect: its own, or those of its parts."""
        return frozenset(part.name for part in self.parts) or frozenset({self.name})

    def __call__(self, process: Process, grid: np.ndarray, **options: Any) -> Iterable[Row]:
        return self.rows(process, grid, **options)

    def grid_for(self, process: Process) -> str:
        """The name of the default grid on a process."""
        return self.grid if self.grid == FITTED else process.grid or self.grid


VAR, JUMP, ZERO = (frozenset({need}) for need in ("var", "jump", "zero"))
SAMPLERS = {
    sampler.name: sampler
    for sampler in (
        Sampler(ddpm, 1, "uniform", "Ho et al. 2020, arXiv:2006.11239", stochastic=True),
        Sampler(ddim, 1, "uniform", "Song et al. 2020, arXiv:2010.02502"),
        Sampler(euler, 1, "uniform", "Liu et al. 2022, arXiv:2209.03003"),
        Sampler(heun, 2, "uniform", "Karras et al. 2022, arXiv:2206.00364", calls=2),
        Sampler(dpmpp_2m, 2, "log_snr", "Lu et al. 2022, arXiv:2211.01095"),
        Sampler(dpmpp_3m, 3, "log_snr", "Lu et al. 2022, arXiv:2211.01095"),
        Sampler(exponential_ab, 3, "log_snr", "Zhang & Chen 2022, arXiv:2204.13902"),
        Sampler(unipc, 3, "log_snr", "Zhao et al. 2023, arXiv:2302.04867"),
        Sampler(dpm_solver_2, 2, "log_snr", "Lu et al. 2022, arXiv:2206.00927", calls=2),
        Sampler(dpm_solver_3, 3, "log_snr", "Lu et al. 2022, arXiv:2206.00927", calls=3),
        Sampler(dpm_solver_v3, 4, "log_snr", "Zheng et al. 2023, arXiv:2310.13268", needs=frozenset({"ems"})),
        Sampler(res_2s, 2, "log_snr", "Hochbruck & Ostermann 2005; Zhang et al. 2023, arXiv:2308.02157", calls=2),
        Sampler(res_3s, 3, "log_snr", "Hochbruck & Ostermann 2005; Zhang et al. 2023, arXiv:2308.02157", calls=3),
        Sampler(dpm_fast, 2, "log_snr", "Lu et al. 2022, arXiv:2206.00927"),
        Sampler(dpmpp_2s, 2, "log_snr", "Lu et al. 2022, arXiv:2211.01095", calls=2),
        Sampler(dpmpp_3s, 3, "log_snr", "Lu et al. 2022, arXiv:2211.01095", calls=3),
        Sampler(deis, 3, "uniform", "Zhang & Chen 2022, arXiv:2204.13902"),
        Sampler(ipndm, 2, "karras", "Liu et al. 2022, arXiv:2202.09778"),
        Sampler(ipndm_v, 4, "karras", "Zhang & Chen 2022, arXiv:2204.13902"),
        Sampler(lms, 4, "karras", "k-diffusion"),
        Sampler(plms, 2, "uniform", "Liu et al. 2022, arXiv:2202.09778"),
        Sampler(pndm, 2, "uniform", "Liu et al. 2022, arXiv:2202.09778"),
        Sampler(rho_rk2, 2, "karras", "Karras et al. 2022, arXiv:2206.00364", calls=2),
        Sampler(rho_rk3, 3, "karras", "Zhang & Chen 2022, arXiv:2204.13902", calls=3),
        Sampler(rho_rk4, 4, "karras", "Zhang & Chen 2022, arXiv:2204.13902", calls=4),
        Sampler(euler_maruyama, 1, "quadratic", "Ma et al. 2024, arXiv:2401.08740", stochastic=True),
        Sampler(euler_ancestral, 1, "karras", "Song et al. 2020, arXiv:2010.02502", stochastic=True),
        Sampler(dpm2, 2, "karras", "Karras et al. 2022, arXiv:2206.00364", calls=2),
        Sampler(dpm2_ancestral, 2, "karras", "k-diffusion", calls=2, stochastic=True),
        Sampler(dpmpp_2s_ancestral, 2, "karras", "Lu et al. 2022, arXiv:2211.01095", calls=2, stochastic=True),
        Sampler(sde_dpmpp_1, 1, "log_snr", "Lu et al. 2022, arXiv:2211.01095", stochastic=True),
        Sampler(dpmpp_2m_sde, 2, "log_snr", "Lu et al. 2022, arXiv:2211.01095", stochastic=True),
        Sampler(dpmpp_3m_sde, 2, "log_snr", "Lu et al. 2022, arXiv:2211.01095", stochastic=True),
        Sampler(dpmpp_sde, 2, "karras", "Lu et al. 2022, arXiv:2211.01095", calls=2, stochastic=True),
        Sampler(edm, 2, "karras", "Karras et al. 2022, arXiv:2206.00364", calls=2, stochastic=True),
        Sampler(restart, 2, "karras", "Xu et al. 2023, arXiv:2306.14878", calls=2, stochastic=True),
        Sampler(interpolant_sde, 1, "quadratic", "Ma et al. 2024, arXiv:2401.08740", stochastic=True),
        Sampler(langevin, 0, "log_snr", "Song et al. 2021, arXiv:2011.13456", calls=2, stochastic=True),
        Sampler(analytic_ddpm, 1, "uniform", "Bao et al. 2022, arXiv:2201.06503", stochastic=True, needs=VAR),
        Sampler(analytic_ddim, 1, "uniform", "Bao et al. 2022, arXiv:2201.06503", stochastic=True, needs=VAR),
        Sampler(flow_map, None, "uniform", "Frans et al. 2024, arXiv:2410.12557", needs=JUMP),
        Sampler(gamma, None, "uniform", "Kim et al. 2023, arXiv:2310.02279", stochastic=True, needs=JUMP),
        Sampler(consistency, None, "uniform", "Song et al. 2023, arXiv:2303.01469", stochastic=True, needs=ZERO),
        Sampler(sa_solver, 2, "log_snr", "Xue et al. 2023, arXiv:2309.05019", stochastic=True),
        # Up to some 300 steps its errors fall as those of order 3; then the order-2 errors of its small noise dominate.
        Sampler(er_sde, 2, "log_snr", "Cui et al. 2023, arXiv:2309.06169", stochastic=True),
    )
}


def required(sampler: "Sampler") -> frozenset:
    """The capabilities that a sampler of the registry requires of a model, a subset of {"instant", "jump", "zero"}."""
    return getattr(sampler, "needs", frozenset()) & (JUMP | ZERO) or frozenset({"instant"})


def supports(den: DenoiserLike, sampler: "Sampler") -> bool:
    """Whether a model has the capabilities that a sampler of the registry requires; "jump" includes "zero"."""
    return required(sampler) <= den.capabilities | (ZERO if den.capabilities >= JUMP else frozenset())


def adds_other_noise(den: DenoiserLike, sampler: "Sampler") -> bool:
    """Whether a sampler of the registry adds Gaussian noise, and that of the model's process is not Gaussian."""
    return sampler.stochastic and not np.isinf(den.process.freedom)


# By capability of a model; the first that it has determines the default.
DEFAULT_SAMPLERS = {"jump": "flow_map", "zero": "consistency", "instant": "dpmpp_2m"}


# What a comparison shows by default of models that predict the velocity.
COMPARED_SAMPLERS = ("ddim", "heun", "dpmpp_2m", "ddpm", "euler_maruyama")


def compared_samplers(dens: Iterable[DenoiserLike]) -> list[str]:
    """The names of the samplers that a comparison of models shows by default."""
    dens = list(dens)
    jumping = dict.fromkeys(name for name in map(default_sampler, dens) if name != DEFAULT_SAMPLERS[INSTANT])
    velocities = [den for den in dens if INSTANT in den.capabilities]
    of_velocities = [
        name for name in COMPARED_SAMPLERS if not all(adds_other_noise(den, SAMPLERS[name]) for den in velocities)
    ]
    return [*of_velocities, *jumping]


def find(name: str, known: Mapping[str, Sampler] = SAMPLERS) -> Sampler:
    """The sampler of a name, or the splice of "NAME:LEVEL:NAME", also of more; UsageError for anything else."""
    names = name.split(":") if isinstance(name, str) else [name]
    if len(names) == 1:
        return lookup("sampler", name, known)
    parts = [lookup("sampler", one, known) for one in names[::2]]
    levels = [_number(text) for text in names[1::2]]
    if len(parts) != len(levels) + 1 or not all(a > b for a, b in pairwise([np.inf, *levels, 0.0])):
        raise UsageError(
            f"{name!r} is no splice: write SAMPLER:LEVEL:SAMPLER, with noise levels sigma / alpha that decrease, such "
            f"as dpmpp_2m_sde:0.5:dpmpp_2m"
        )
    orders = [part.order for part in parts if part.order is not None]
    return Sampler(
        partial(splice, parts, levels), min(orders, default=None), parts[0].grid, "", max(part.calls for part in parts),
        any(part.stochastic for part in parts), frozenset().union(*(part.needs for part in parts)), title=name,
        parts=tuple(parts),
    )  # fmt: skip


def _number(text: str) -> float:
    """The number in a text, nan if there is none."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def as_sampler(sampler: "str | Sampler | Callable[..., Iterable[Row]]") -> "Sampler":
    """The sampler of a name or of a function (process, grid) -> rows; UsageError for anything else."""
    if isinstance(sampler, Sampler):
        return sampler
    if not callable(sampler):
        return find(sampler)
    return Sampler(sampler, None, "uniform", "")


def as_grid(grid: str | Callable[..., np.ndarray] | None) -> Callable[..., np.ndarray] | None:
    """The grid of a name; functions, and None for the default grid, as they are.  UsageError for anything else."""
    return grid if grid is None or callable(grid) else lookup("grid", grid, GRIDS)


def default_sampler(den: DenoiserLike) -> str:
    """The name of the default sampler of a model."""
    return next(name for capability, name in DEFAULT_SAMPLERS.items() if capability in den.capabilities)


def default_nfe(den: DenoiserLike, sampler: "Sampler") -> int:
    """The default number of network calls of a sampler of the registry, for a model that supports it."""
    trained = getattr(den, "calls", None) if sampler.name == default_sampler(den) else None  # a user's need not say
    return sampler.nfe or trained or (2 if sampler.needs & (JUMP | ZERO) else 16)


def preview_table(den: DenoiserLike) -> Tableau:
    """The table of previews during training: the default sampler at its default number of network calls."""
    sampler = SAMPLERS[default_sampler(den)]
    return table_at(sampler, den.process, default_nfe(den, sampler))


def table_at(
    sampler: "Sampler", process: Process, nfe: float, grid: Callable[..., np.ndarray] | None = None
) -> Tableau:
    """The sampler's table with the most steps that fit into `nfe` network calls.  Beyond 64 calls it may have a few
    steps less than possible, where the number of calls does not grow with the steps (restart).

    sampler and grid are callables as in SAMPLERS and GRIDS (or partials of them).  The default grid is the process's,
    else the sampler's, else uniform.  Raises NoTable, a UsageError, if no table fits (Heun in one call), and for one
    with noise on a process whose noise is not Gaussian.
    """
    if not isinstance(nfe, Real) or nfe < 1 or nfe % 1:
        raise UsageError(f"nfe is a whole number of network calls, at least 1: got {nfe!r}")
    if isinstance(sampler, Sampler) and sampler.grid == FITTED:
        if sampler.nfe not in (None, nfe):
            raise NoTable(f"{sampler.name} is a table of {sampler.nfe} network calls, not of {nfe}")
        return tabulate(sampler(process, np.array(process.ends)))
    if grid is None:
        grid = GRIDS[sampler.grid_for(process) if isinstance(sampler, Sampler) else process.grid or "uniform"]
    reason, steps = None, int(nfe) + 1  # an analytic first step takes no call
    while steps:
        try:
            table = tabulate(sampler(process, grid(process, steps)))
        except NoTable as error:
            reason, beyond = error, 0
        else:
            if table.nfe <= nfe:
                check_noise(process, table, name_of(sampler))
                return table
            reason, beyond = "every table has more", steps * (1 - nfe / table.nfe)
        # One by one, as calls need not grow with the steps (restart); if far too many, by half of the excess first.
        steps -= max(1, int(beyond / 2) - 32)
    raise NoTable(f"no table of {nfe} network calls: {reason}")
