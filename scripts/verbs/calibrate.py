"""fewstep calibrate."""

from rich import box
from rich.console import Console
from rich.table import Table

from fewstep.cli.config.settings import settings
from fewstep.cli.errors import UserError
from fewstep.cli.options import Levers, Opening
from fewstep.cli.verbs.sampling import levers, opened
from fewstep.diffusion.calibrate import ESTIMATES, Statistics
from fewstep.diffusion.ems import EMS
from fewstep.errors import lookup
from fewstep.ranges import MOST_CALLS, MOST_IMAGES, within
from fewstep.train.run.calibration import KINDS, VARIANCE, calibrate, path
from fewstep.train.utils.messages import say

SHOWN = 8  # points in the printed table


def main(
    folder: str, around: Levers, opening: Opening, count: int, points: int, seed: int, estimate: str, statistics: str
) -> None:
    """Measure statistics under a run's network at each noise level, and store them in the run."""
    within(count, "--count", 2, MOST_IMAGES)
    within(points, "--points", 2, MOST_CALLS)
    lookup("estimate", estimate, dict.fromkeys(ESTIMATES))
    kind = lookup("kind of statistics", statistics, KINDS)
    if kind is not VARIANCE and estimate != ESTIMATES[0]:
        raise UserError(f"--estimate {estimate} is for the variance: leave it out with --statistics {statistics}")
    known = settings(opening.set)
    chosen = levers(around, opening.set, known)
    known.check_used({name for name, _ in chosen})
    run = opened(folder, opening)
    den = run.under([lever for _, lever in chosen])
    found = calibrate(run, den, count, seed, points, estimate, kind)
    title, table = _variances(found) if kind is VARIANCE else _slopes(found)
    Console(width=80).print(title, table)
    samplers = "ddpm,analytic_ddpm" if kind is VARIANCE else "dpmpp_3m,dpm_solver_v3"
    say(f"{path(run, den, kind)}: used by samplers that need it. Next: fewstep compare {folder} --sampler {samplers}")


def _variances(found: Statistics) -> tuple[str, Table]:
    table = _table("residual", "", "score norm", "")
    for i in _shown(found.lam):
        lam, residual, error, norm, doubt = (column[i] for column in found[:5])
        table.add_row(f"{lam:.2f}", f"{residual:.4g}", f"±{error:.1g}", f"{norm:.4g}", f"±{doubt:.1g}")
    return "The variance of x0 given x_t, by both estimates, with standard errors:", table


def _slopes(found: EMS) -> tuple[str, Table]:
    table = _table("l", "s")
    for i in _shown(found.lam):
        table.add_row(*(f"{column[i]:.{places}f}" for column, places in zip(found, (2, 4, 4), strict=True)))
    return "The parameterization: from the data form (1, 0) to the noise form (0, -1):", table


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("log-SNR / 2", *names):
        table.add_column(name, justify="right")
    return table


def _shown(lam) -> range:
    return range(0, len(lam), max(1, len(lam) // SHOWN))
