"""fewstep tune-skips."""

from rich import box
from rich.console import Console
from rich.table import Table

from diffusion.levers import skip_tuning
from evaluation.distances import DISTANCES
from evaluation.metrics import trait
from evaluation.report.table import number
from evaluation.tuning import tune
from samplers import usual, usual_calls
from scripts import config, parse
from scripts.errors import UserError, lookup
from scripts.features import named
from scripts.overrides import target
from train.processes import first
from train.progress import say
from train.tuned import Tuned, keep, path

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
    values, window = sorted({*parse.numbers(values, "--values")}), window and parse.numbers(window, "--window")
    if window and (len(window) != 2 or not 0 <= window[0] < window[1]):
        raise UserError("--window LOW,HIGH: two noise levels sigma / alpha, 0 or more, the lower one first")
    wrap = [parse.lever(text, settings.levers, [*map(target, overrides)]) for text in levers]
    run = config.open_run(parse.path(folder, "the run"), trust, step, parse.mesh(mesh))
    skip_tuning(1.0)(run.denoiser)  # refused without skips
    sampler = sampler or usual(run.denoiser)
    chosen = settings.samplers[sampler]
    grid = grid or chosen.grid_for(run.model.process)
    config.refuse_unused(settings.given, {sampler, grid, *(name for name, _ in wrap)})
    kinds = [named(text, run) for text in parse.words(features, "--features")]
    if len(run.data.held_out) < 4:
        raise UserError(f"{folder} has {len(run.data.held_out)} held-out images: tuning and checking take two each")
    wrap = [lever for _, lever in wrap]
    table = run.table(chosen, nfe or usual_calls(chosen), settings.grids[grid], wrap)
    options = {"count": count, "seed": seed, "batch": batch, "refine": refine}
    found = tune(run, table, wrap, window, values, metric=metric, features=kinds, **options)
    if first():
        about = {"step": run.step, "sampler": sampler, "grid": grid, "nfe": table.nfe, "levers": list(levers)}
        about |= {"count": count, "seed": seed, "metric": found.metric}
        about |= {name: [point._asdict() for point in getattr(found, name)] for name in ("curve", "steps")}
        about["checks"] = [check._asdict() for check in found.checks]
        keep(run, Tuned(list(found.best.factors), window, run.weights), **about)
        _show(found, run, f"{sampler} in {table.nfe} calls", window)


def _show(found, run, how, window):
    console, best = Console(width=80), ", ".join(f"{factor:.3g}" for factor in found.best.factors)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("factors, innermost first", found.metric, ""):
        table.add_column(name)
    for point in [*found.curve, *([found.best] if found.best not in found.curve else [])]:
        low, high = point.distance.low, point.distance.high
        mark = " *" if point == found.best else ""
        factors = ", ".join(f"{factor:.3g}" for factor in point.factors)
        table.add_row(factors, number(point.distance.value) + mark, f"{number(low)} to {number(high)}")
    console.print(f"{run.name}, {how}, on the held-out images that are tuned on:", table)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("on the other ones", "without", "tuned", "difference", "95 %"):
        table.add_column(name, justify="left" if name == "on the other ones" else "right")
    for check in found.checks:
        apart = check.difference
        ends = f"{number(apart.low)} to {number(apart.high)}"
        table.add_row(check.metric, *map(number, (check.without.value, check.tuned.value, apart.value)), ends)
    console.print(table)
    only = f" for sigma / alpha in ({window[0]:g}, {window[1]:g}]" if window else ""
    say(f"{path(run)}: factors {best}{only}. Next: fewstep sample {run.folder} --lever skip_tuning")
