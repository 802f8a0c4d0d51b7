"""fewstep tune-skips."""

import math
import shlex

from rich import box
from rich.console import Console
from rich.table import Table

from fewstep.cli import config, parse
from fewstep.cli.errors import UserError, lookup
from fewstep.cli.features import named
from fewstep.cli.overrides import target
from fewstep.diffusion.levers import skip_tuning
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.metrics import trait
from fewstep.evaluation.report.table import number
from fewstep.evaluation.tuning import tune
from fewstep.samplers import serves, usual, usual_calls
from fewstep.train.processes import first
from fewstep.train.progress import say
from fewstep.train.tuned import Tuned, keep, path

METRICS = [name for name in DISTANCES if trait(name).better == "lower" and name != "FDinf"]


def main(
    folder, sampler, nfe, grid, levers, values, window, refine, metric, features, count, seed, batch, overrides, trust,
    step, mesh,
):  # fmt: skip
    """Search the factors of a run's skips for a sampler in `nfe` calls, check them, and keep them in the run."""
    settings = config.settings(overrides)
    for kind, name, table in (("sampler", sampler, settings.samplers), ("grid", grid, settings.grids)):
        if name is not None:
            lookup(kind, name, table)
    lookup("metric that can be tuned on", metric, dict.fromkeys(METRICS))
    parse.within(1 if nfe is None else nfe, "--nfe", 1, parse.MOST_CALLS)
    parse.within(count, "--count", 2, parse.MOST_IMAGES)
    parse.within(batch, "--batch", 1, parse.MOST_IMAGES)
    values, window = sorted({*parse.numbers(values, "--values")}), _window(window)
    wrap = [parse.lever(text, settings.levers, [*map(target, overrides)]) for text in levers]
    run = config.open_run(parse.path(folder, "the run"), trust, step, parse.mesh(mesh))
    skip_tuning(1.0)(run.denoiser)  # refused without skips
    sampler = sampler or usual(run.denoiser)
    chosen = settings.samplers[sampler]
    if not serves(run.denoiser, chosen):
        raise UserError(f"{sampler} asks for what {folder} did not learn: choose {usual(run.denoiser)}")
    grid = grid or chosen.grid_for(run.model.process)
    config.refuse_unused(settings.given, {sampler, grid, *(name for name, _ in wrap)})
    kinds = [named(text, run) for text in parse.words(features, "--features")]
    if len(run.data.held_out) < 4:
        raise UserError(f"{folder} has {len(run.data.held_out)} held-out images: tuning and checking take two each")
    wrap = [lever for _, lever in wrap]
    table = run.table(chosen, nfe or usual_calls(chosen), settings.grids[grid], wrap)
    if table.spread.any():
        raise UserError(f"{sampler} needs a variance, which is another one for every factor: choose another sampler")
    options = {"count": count, "seed": seed, "batch": batch, "refine": refine}
    try:
        found = tune(run, table, wrap, window, values, metric=metric, features=kinds, **options)
    except KeyboardInterrupt:
        say(f"stopped: nothing was kept, and what {folder} had is as it was")
        raise
    told = Tuned(list(found.best.factors), window, run.weights, sampler, table.nfe, grid, list(levers), list(overrides))
    if first():
        about = {"step": run.step, "count": count, "seed": seed, "metric": found.metric}
        about |= {name: [point._asdict() for point in getattr(found, name)] for name in ("curve", "steps")}
        keep(run, told, **about, checks=[check._asdict() for check in found.checks])
        _show(found, run, told, step)


def _window(text):
    """(low, high) of "LOW,HIGH", or None."""
    if text is None:
        return None
    ends = parse.numbers(text, "--window", most=math.inf)
    if len(ends) != 2 or not 0 <= ends[0] < ends[1]:
        raise UserError(f"--window {text}: write LOW,HIGH, two noise levels sigma / alpha from 0 to inf")
    return tuple(ends)


def _show(found, run, told, step):
    """The curve, the check, and what to do next."""
    console = Console(width=80)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("factors, innermost first", found.metric, "95 %"):
        table.add_column(name)
    for point in [*found.curve, *([found.best] if found.best not in found.curve else [])]:
        factors = ", ".join(f"{factor:.3g}" for factor in point.factors)
        mark = " *" if point == found.best else ""
        ends = f"{number(point.distance.low)} to {number(point.distance.high)}"
        table.add_row(factors, number(point.distance.value) + mark, ends)
    console.print(f"{run.name}, on the held-out images that are tuned on, * is best:", table)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("on the other ones", "without", "tuned", "difference", "95 %"):
        table.add_column(name, justify="left" if name == "on the other ones" else "right")
    for check in found.checks:
        apart = check.difference
        ends = f"{number(apart.low)} to {number(apart.high)}"
        table.add_row(check.metric, *map(number, (check.without.value, check.tuned.value, apart.value)), ends)
    console.print(table)
    if found.best in (found.curve[0], found.curve[-1]) and len(found.curve) > 1:
        say("the best is at the end of --values: look further")
    if not found.checks[0].difference.high < 0:
        say("on images that were not tuned on it is not shown to be better than without")
    again = ["fewstep", "sample", run.folder, "--sampler", told.sampler, "--nfe", told.nfe, "--grid", told.grid]
    again += [] if step is None else ["--step", step]
    again += [word for text in told.overrides for word in ("--set", text)]
    again += [word for text in [*told.levers, "skip_tuning"] for word in ("--lever", text)]
    say(f"{path(run)}: {told}. Next: {shlex.join(map(str, again))}")
