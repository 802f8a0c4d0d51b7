"""fewstep calibrate."""

from rich import box
from rich.console import Console
from rich.table import Table

from fewstep.cli.config.settings import settings
from fewstep.cli.options import Levers, Opening
from fewstep.cli.verbs.sampling import levers, opened
from fewstep.diffusion.calibrate import ESTIMATES
from fewstep.errors import lookup
from fewstep.ranges import MOST_CALLS, MOST_IMAGES, within
from fewstep.train.run.calibration import calibrate, path
from fewstep.train.utils.messages import say

SHOWN = 8  # points in the printed table


def main(folder: str, around: Levers, opening: Opening, count: int, points: int, seed: int, estimate: str) -> None:
    """Measure the variance of x0 given x_t under a run's network at each noise level, and store it in the run."""
    within(count, "--count", 2, MOST_IMAGES)
    within(points, "--points", 2, MOST_CALLS)
    lookup("estimate", estimate, dict.fromkeys(ESTIMATES))
    known = settings(opening.set)
    chosen = levers(around, opening.set, known)
    known.check_used({name for name, _ in chosen})
    run = opened(folder, opening)
    den = run.under([lever for _, lever in chosen])
    found = calibrate(run, den, count, seed, points, estimate)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("log-SNR / 2", "residual", "", "score norm", ""):
        table.add_column(name, justify="right")
    for i in range(0, points, max(1, points // SHOWN)):
        lam, residual, error, norm, doubt = (column[i] for column in found[:5])
        table.add_row(f"{lam:.2f}", f"{residual:.4g}", f"±{error:.1g}", f"{norm:.4g}", f"±{doubt:.1g}")
    Console(width=80).print("The variance of x0 given x_t, by both estimates, with standard errors:", table)
    say(f"{path(run, den)}: used by samplers that need it. Next: fewstep compare {folder} --sampler ddpm,analytic_ddpm")
