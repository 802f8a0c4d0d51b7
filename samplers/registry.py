"""The samplers and grids by name, and tables at a budget of network calls."""

from collections.abc import Callable
from dataclasses import dataclass

from fewstep.diffusion.errors import UsageError
from fewstep.samplers.adams import deis, ipndm, ipndm_v, lms, plms, pndm
from fewstep.samplers.analytic import analytic_ddim, analytic_ddpm
from fewstep.samplers.ancestral import ddpm, dpm2, dpm2_ancestral, dpmpp_2s_ancestral, euler_ancestral
from fewstep.samplers.churn import edm
from fewstep.samplers.ddim import ddim
from fewstep.samplers.er_sde import er_sde
from fewstep.samplers.euler import euler, euler_maruyama, heun
from fewstep.samplers.exponential import dpmpp_2m, dpmpp_3m, exponential_ab
from fewstep.samplers.flow_map import consistency, flow_map
from fewstep.samplers.grids import GRIDS
from fewstep.samplers.interpolant import interpolant_sde
from fewstep.samplers.langevin import langevin
from fewstep.samplers.restart import restart
from fewstep.samplers.runge_kutta import rho_rk2, rho_rk3, rho_rk4
from fewstep.samplers.sa_solver import sa_solver
from fewstep.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, sde_dpmpp_1
from fewstep.samplers.singlestep import dpm_fast, dpm_solver_2, dpm_solver_3, dpmpp_2s, dpmpp_3s
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Tableau, tabulate
from fewstep.samplers.unipc import unipc


@dataclass(frozen=True)
class Sampler:
    """A sampler with what is known of it.  Called like the function itself: (process, grid, **options) -> rows."""

    rows: Callable
    order: int | None  # of the mean path for deterministic samplers, weak for stochastic ones; None: no error of steps
    grid: str  # the default grid
    paper: str
    calls: int = 1  # network calls a step (a step to sigma = 0 takes 1)
    stochastic: bool = False
    needs: frozenset = frozenset()  # of {"var", "jump", "zero"}

    @property
    def name(self) -> str:
        return self.rows.__name__

    def __call__(self, process, grid, **options):
        return self.rows(process, grid, **options)

    def grid_for(self, process) -> str:
        """The name of the grid it is drawn on unless another is asked for."""
        return process.grid or self.grid


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
        Sampler(consistency, None, "uniform", "Song et al. 2023, arXiv:2303.01469", stochastic=True, needs=ZERO),
        Sampler(sa_solver, 2, "log_snr", "Xue et al. 2023, arXiv:2309.05019", stochastic=True),
        # Weak 3 down to errors of about 1e-8 on Gaussian data, where those of its little noise, of order 2, take over.
        Sampler(er_sde, 3, "log_snr", "Cui et al. 2023, arXiv:2309.06169", stochastic=True),
    )
}


def required(sampler) -> frozenset:
    """The capabilities of a model, of {"instant", "jump", "zero"}, that a sampler of the registry requires."""
    return getattr(sampler, "needs", frozenset()) & (JUMP | ZERO) or frozenset({"instant"})


def supports(den, sampler) -> bool:
    """Whether a model answers what a sampler of the registry asks for: a network that jumps also jumps to the data."""
    return required(sampler) <= den.capabilities | (ZERO if den.capabilities >= JUMP else frozenset())


DEFAULT_SAMPLERS = {
    "jump": "flow_map",
    "zero": "consistency",
    "instant": "dpmpp_2m",
}  # by the most that a model answers


def default_sampler(den) -> str:
    """The name of the sampler that a model is drawn with unless told otherwise."""
    return next(name for answer, name in DEFAULT_SAMPLERS.items() if answer in den.capabilities)


def default_nfe(sampler) -> int:
    """The network calls that a sampler of the registry is drawn with unless told otherwise."""
    return 2 if sampler.needs & (JUMP | ZERO) else 16


def preview_table(den) -> Tableau:
    """The table that a model is looked at with while it trains."""
    sampler = SAMPLERS[default_sampler(den)]
    return table_at(sampler, den.process, default_nfe(sampler))


def table_at(sampler, process, nfe, grid=None) -> Tableau:
    """The sampler's table with the most steps that fit into `nfe` network calls.  Beyond 64 calls it may miss a
    few steps where fewer would take more calls (restart).

    sampler and grid are callables as in SAMPLERS and GRIDS (or partials of them); grid None is the process's own or the
    sampler's default, uniform where it has none.  Raises NoTable, a UsageError, where no table fits (Heun in one call).
    """
    if nfe != int(nfe) or nfe < 1:
        raise UsageError(f"a number of network calls is a whole number, at least 1: got {nfe}")
    if grid is None:
        grid = GRIDS[sampler.grid_for(process) if isinstance(sampler, Sampler) else process.grid or "uniform"]
    steps = int(nfe) + 1  # an analytic first step takes no call
    while steps:
        try:
            table = tabulate(sampler(process, grid(process, steps)))
        except NoTable as error:
            reason, beyond = error, 0
        else:
            if table.nfe <= nfe:
                return table
            reason, beyond = "every table has more", steps * (1 - nfe / table.nfe)
        # One by one, as calls need not grow with the steps (restart); long ways first halfway to where they would fit.
        steps -= max(1, int(beyond / 2) - 32)
    raise NoTable(f"no table of {nfe} network calls: {reason}")
