"""fewstep calibrate."""

from rich import box
from rich.console import Console
from rich.table import Table

from fewstep.cli import config, parse
from fewstep.cli.errors import lookup
from fewstep.cli.overrides import target
from fewstep.diffusion.calibrate import ESTIMATES
from fewstep.train.calibration import calibrate, path
from fewstep.train.progress import say

SHOWN = 8  # of the points


def main(folder, levers, count, points, seed, estimate, overrides, trust, step, mesh):
    """Measure how much a run's network leaves open at every noise level, and keep it in the run."""
    parse.within(count, "--count", 2, parse.MOST_IMAGES)
    parse.within(points, "--points", 2, parse.MOST_CALLS)
    lookup("estimate", estimate, dict.fromkeys(ESTIMATES))
    settings = config.settings(overrides)
    wrap = [parse.lever(text, settings.levers, [*map(target, overrides)]) for text in levers]
    config.refuse_unused(settings.given, {name for name, _ in wrap})
    run = config.open_run(parse.path(folder, "the run"), trust, step, parse.mesh(mesh))
    den = run.under([lever for _, lever in wrap])
    found = calibrate(run, den, count, seed, points, estimate)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("log-SNR / 2", "residual", "", "score norm", ""):
        table.add_column(name, justify="right")
    for i in range(0, points, max(1, points // SHOWN)):
        lam, residual, error, norm, doubt = (column[i] for column in found[:5])
        table.add_row(f"{lam:.2f}", f"{residual:.4g}", f"±{error:.1g}", f"{norm:.4g}", f"±{doubt:.1g}")
    Console(width=80).print("The variance of x0 given x_t, by both estimates, with standard errors:", table)
    say(f"{path(run, den)}: used by samplers that need it. Next: fewstep compare {folder} --sampler ddpm,analytic_ddpm")
